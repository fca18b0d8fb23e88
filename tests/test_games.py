"""Games in the loop: what each player minimises, from what, and by which draws."""

import dataclasses

import pytest
import torch
from test_loop import (
    ADVERSARIAL,
    EVENTFUL,
    START,
    advance,
    assert_bitwise,
    every_game,
    flat,
    fresh,
    prior_game,
    to_disk_and_back,
    tokenizer_game,
)
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.losses.patchgan import hinge_generator
from bitmosaic.losses.reconstruction import l1, perceptual
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.game import frozen
from bitmosaic.train.loop import play
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

# ---- games


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_tiny_prior_learns_one_batch_by_heart_and_draws_it(precision):
    """One image a class: the loss goes to nothing, and the sampler gives each class its image from any seed."""
    training = Training(steps=320, learning_rate=5e-3, precision=precision)
    spec = MaskedPriorSpec(grid=(2, 2), bits=4, depth=1, width=64, head=BernoulliDiffusionSpec(width=64, steps=16))
    state, batches = fresh(lambda: prior_game(spec), training)
    one, prior = batches(0).codes[:3], state.game.players["prior"]
    batch = CodeBatch(Codes(one.digits.repeat(5, 1, 1, 1), one.radix), torch.arange(3).repeat(5))
    state.game.class_dropout = 0.0
    losses = [p.metrics["loss"].item() for p in play(state, lambda step: batch, training)]
    assert sum(losses[-20:]) < 0.1 * sum(losses[:20])
    sampler = EntropyOrderedSpec(steps=3, evaluations=8, guidance_scale=1.0).build()
    for seed in range(3):
        generators = [torch.Generator().manual_seed(10 * seed + i) for i in range(3)]
        hidden = torch.zeros(one.digits.shape[:-1], dtype=torch.bool)
        *_, step = sampler(prior.eval(), one, hidden, torch.arange(3), generators)
        assert torch.equal(step.codes.digits, one.digits)


def test_the_loss_falls_when_a_tiny_tokenizer_learns_one_batch_by_heart():
    training = Training(steps=40, learning_rate=3e-3)
    state, batches = fresh(lambda: tokenizer_game(TokenizerLosses()), training)
    batch = batches(0)
    losses = [p.metrics["l1"].item() for p in play(state, lambda step: batch, training)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_frozen_restores_what_was_asked_and_lets_gradients_through():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net[0].bias.requires_grad_(False)
    wanted = [p.requires_grad for p in net.parameters()]
    x = torch.ones(2, 3, requires_grad=True)
    with frozen(net):
        assert not any(p.requires_grad for p in net.parameters())
        net(x).sum().backward()
    assert [p.requires_grad for p in net.parameters()] == wanted == [True, False, True, True]
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in net.parameters())
    with pytest.raises(KeyError), frozen(net):
        raise KeyError
    assert [p.requires_grad for p in net.parameters()] == wanted


def test_the_discriminator_does_not_move_before_its_start():
    state, batches = fresh(tokenizer_game, EVENTFUL)
    discriminator, optimizer = state.game.players["discriminator"], state.optimizers["discriminator"]
    held = {k: v.clone() for k, v in discriminator.state_dict().items()}
    for progress in play(state, batches, EVENTFUL):
        adversarial = {
            "adversarial",
            "weight",
            "discriminator",
            "real",
            "made",
            "discriminator_gradient",
        } & progress.metrics.keys()
        if progress.step <= START:
            assert_bitwise({k: v.clone() for k, v in discriminator.state_dict().items()}, held)
            assert not adversarial and not any(s["step"] or s["exp_avg"].any() for s in optimizer.state.values())
        else:
            assert len(adversarial) == 6
    moved = {k for k, v in discriminator.state_dict().items() if not torch.equal(v, held[k])}
    assert moved == held.keys() and all(p.requires_grad for p in discriminator.parameters())


def test_the_discriminator_may_learn_alone_before_it_is_heard():
    """With a lead it moves earlier, at its own rate, and until the start the tokenizer walks as if there were none."""
    ends, losses = [], dataclasses.replace(ADVERSARIAL, discriminator_lead=2, discriminator_rate=3.0)
    training = dataclasses.replace(EVENTFUL, steps=START)
    for given in (losses, ADVERSARIAL):
        state, batches = fresh(lambda given=given: tokenizer_game(given), training)
        moves = ["discriminator_gradient" in p.metrics for p in play(state, batches, training)]
        assert moves == ([False, True, True] if given is losses else [False] * 3)
        ends.append(state)
    rates = {name: o.param_groups[0]["lr"] for name, o in ends[0].optimizers.items()}
    assert rates == {"tokenizer": training.rate(START - 1), "discriminator": 3 * training.rate(START - 1)}
    assert_bitwise(*(flat(to_disk_and_back(state.state_dict()["tokenizer"])) for state in ends))


@pytest.mark.parametrize("squared_weight", [0.0, 2.0])
def test_the_tokenizers_move_has_the_gradient_of_reconstruction_and_weighted_adversary(squared_weight):
    """Against both losses put together and differentiated directly."""
    losses = TokenizerLosses(perceptual_weight=0.5, discriminator=PatchGANSpec(), adversarial_weight=0.8, diffaugment=False)
    losses = dataclasses.replace(losses, squared_weight=squared_weight)
    torch.manual_seed(0)
    game, batches = tokenizer_game(losses)
    tokenizer, discriminator, images = *game.players.values(), batches(0).images.float() / 255
    turn = next(game.play(batches(0), 0, torch.Generator().manual_seed(5)))
    assert turn.player == "tokenizer"
    turn.loss.backward()
    ours = {name: p.grad.clone() for name, p in tokenizer.named_parameters()}
    assert all(p.grad is None for p in discriminator.parameters()), "a gradient was left at the discriminator"

    made, _ = tokenizer(images, torch.Generator().manual_seed(5))
    reconstruction = l1(images, made) + 0.5 * perceptual(game.features, images, made)
    reconstruction = reconstruction + squared_weight * (images - made).square().mean()
    adversarial = hinge_generator(discriminator(made))
    norms = [torch.autograd.grad(x, tokenizer.last_weight, retain_graph=True)[0].norm() for x in (reconstruction, adversarial)]
    weight = 0.8 * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1)
    tokenizer.zero_grad()
    (reconstruction + weight.detach() * adversarial).backward()
    assert turn.metrics["loss"] == pytest.approx(reconstruction.item(), rel=1e-5)
    assert turn.metrics["weight"] == pytest.approx(weight.item(), rel=1e-3)
    for name, p in tokenizer.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, rtol=1e-3, atol=1e-6)


def test_the_discriminators_move_leaves_nothing_at_the_tokenizer():
    torch.manual_seed(0)
    game, batches = tokenizer_game(dataclasses.replace(ADVERSARIAL, adversarial_start=0))
    tokenizer, discriminator = game.players.values()
    turns = game.play(batches(0), 0, torch.Generator().manual_seed(5))
    assert [next(turns).player, (second := next(turns)).player] == ["tokenizer", "discriminator"]
    second.loss.backward()
    assert all(p.grad is None for p in tokenizer.parameters()) and all(p.grad is not None for p in discriminator.parameters())
    assert next(turns, None) is None


@every_game
def test_metrics_are_scalars_without_a_graph(make):
    state, batches = fresh(make, EVENTFUL)
    for _, metrics in advance(state, batches, EVENTFUL, START + 1):
        assert metrics and all(v.ndim == 0 and not v.requires_grad and v.isfinite() for v in metrics.values())


def test_a_perceptual_loss_needs_a_feature_network():
    with pytest.raises(ValueError, match=r"features: perceptual_weight is 0\.5"):
        TokenizerGame(BinaryAutoencoderSpec().build(), ADVERSARIAL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"ema_every": 0},
        {"learning_rate": 0.0},
        {"ema_decay": 1.0},
        {"warmup_steps": -1},
        {"clip_norm": -1.0},
        {"clip_norm": float("nan")},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Training(**wrong)
