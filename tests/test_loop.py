"""The loop and its games: rates, weight decay, clipping, averages; a stopped run ends bitwise where it would have."""

import dataclasses
import functools
import io
import itertools
import math

import pytest
import torch
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import NoConditionSpec
from bitmosaic.images.base import ArrayImages
from bitmosaic.images.batches import Batches
from bitmosaic.losses.patchgan import hinge_generator
from bitmosaic.losses.reconstruction import l1, perceptual
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.game import frozen
from bitmosaic.train.loop import State, play, step_generator
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

START = 3  # first step of the adversarial part
DROPPING = MaskedPriorSpec(dropout=0.1)
ADVERSARIAL = TokenizerLosses(perceptual_weight=0.5, discriminator=PatchGANSpec(), adversarial_start=START)


def image_batches(batch_size=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (10, 3, 16, 16), generator=rng, dtype=torch.uint8)
    return Batches(ArrayImages(pixels, torch.arange(10) % 2), batch_size, seed)


def code_batches(prior, batch_size=4):
    def batch(step):
        rng = torch.Generator().manual_seed(step)
        digits = torch.randint(0, 2, (batch_size, *prior.grid, len(prior.radix)), generator=rng)
        return CodeBatch(Codes(digits, prior.radix), torch.randint(0, 3, (batch_size,), generator=rng))

    return batch


def features():
    torch.manual_seed(100)
    return ConvClassifierSpec().build().eval().requires_grad_(False)


def tokenizer_game(losses=ADVERSARIAL):
    net = features() if losses.perceptual_weight else None
    return TokenizerGame(BinaryAutoencoderSpec().build(), losses, net), image_batches()


def prior_game(spec=DROPPING):
    game = PriorGame(spec.build())
    return game, code_batches(game.players["prior"])


def classifier_game():
    return ClassifierGame(ConvClassifierSpec(dropout=0.3).build()), image_batches()


GAMES = {"tokenizer": tokenizer_game, "prior": prior_game, "classifier": classifier_game}
every_game = pytest.mark.parametrize("make", GAMES.values(), ids=GAMES)
EVENTFUL = Training(
    steps=5,
    learning_rate=3e-3,
    warmup_steps=3,
    decay="cosine",
    weight_decay=0.02,
    clip_norm=0.5,
    ema_decay=0.9,
    ema_every=2,
)


def fresh(make, training, seed=0):
    """A state that has not played, weights from `seed`, and its batches."""
    torch.manual_seed(seed)
    game, batches = make()
    return State.start(game, training), batches


def advance(state, batches, training, to):
    """Plays until `to` steps are done, then leaves the loop as an interrupt would; the metrics of each step."""
    return [(p.step, p.metrics) for p in itertools.islice(play(state, batches, training), to - state.step)]


def to_disk_and_back(parts):
    file = io.BytesIO()
    torch.save(parts, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def flat(parts, where=""):
    """Every value of a nested state by its path."""
    if isinstance(parts, dict):
        return {k: v for name, part in parts.items() for k, v in flat(part, f"{where}/{name}").items()}
    return {where: parts}


def everything(state):
    """All of a state: buffers and parameters of players and averages, and what the optimizers hold."""
    found = flat(to_disk_and_back(state.state_dict()))
    for name, module in state.game.players.items():
        found |= {f"{name}.{k}": v.detach().clone() for k, v in module.state_dict().items()}
    return found


def assert_bitwise(one, other):
    assert one.keys() == other.keys()
    differ = [k for k, v in one.items() if not (torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k])]
    assert not differ, f"{len(differ)} of {len(one)} differ, such as {differ[:4]}"


@functools.cache
def uninterrupted(make, training):
    """The metrics of each step and the end of a run that is never stopped, nor written down before its end."""
    state, batches = fresh(make, training)
    torch.manual_seed(1)
    return advance(state, batches, training, training.steps), everything(state)


# ---- stop and go


@every_game
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("stop", [0, 2, 4])
def test_a_resumed_run_ends_bitwise_where_an_uninterrupted_one_ends(make, precision, stop):
    """Stopped before the first step, before the discriminator's first move, and after; resumed from other weights."""
    training = dataclasses.replace(EVENTFUL, precision=precision)
    begun, batches = fresh(make, training)
    torch.manual_seed(2)
    advance(begun, batches, training, stop)
    parts = to_disk_and_back(begun.state_dict())
    resumed, batches = fresh(make, training, seed=3)
    resumed.load_state_dict(parts)
    assert resumed.step == stop
    torch.manual_seed(4)
    walked = advance(resumed, batches, training, training.steps)
    assert [step for step, _ in walked] == list(range(stop + 1, training.steps + 1))
    assert_bitwise(everything(resumed), uninterrupted(make, training)[1])


@every_game
def test_writing_a_checkpoint_changes_nothing(make):
    """At any step, also before a player's first move: when a checkpoint is written depends on the clock."""
    walked, end = uninterrupted(make, EVENTFUL)
    watched, batches = fresh(make, EVENTFUL)
    seen = []
    for step in range(EVENTFUL.steps):
        to_disk_and_back(watched.state_dict())
        seen += advance(watched, batches, EVENTFUL, step + 1)
    for (_, a), (_, b) in zip(walked, seen, strict=True):
        assert_bitwise(a, b)
    assert_bitwise(everything(watched), end)


@every_game
def test_two_runs_are_the_same_run_and_another_seed_is_another(make):
    ends = []
    for seed in (EVENTFUL.seed, 7):
        training = dataclasses.replace(EVENTFUL, seed=seed)
        state, batches = fresh(make, training)
        torch.manual_seed(2)
        advance(state, batches, training, training.steps)
        ends.append(everything(state))
    _, end = uninterrupted(make, EVENTFUL)
    assert_bitwise(ends[0], end)
    assert any(isinstance(v, torch.Tensor) and not torch.equal(v, ends[1][k]) for k, v in end.items())


def test_a_state_of_another_game_is_refused():
    state, _ = fresh(prior_game, EVENTFUL)
    with pytest.raises((RuntimeError, KeyError)):
        fresh(lambda: prior_game(MaskedPriorSpec(width=32)), EVENTFUL)[0].load_state_dict(state.state_dict())


def test_a_finished_run_has_nothing_left_to_play():
    state, batches = fresh(prior_game, EVENTFUL)
    assert len(advance(state, batches, EVENTFUL, 99)) == EVENTFUL.steps == state.step
    assert list(play(state, batches, EVENTFUL)) == []


def test_the_generator_of_a_step_is_a_function_of_seed_and_step():
    def draws(seed, step):
        return tuple(torch.rand(3, generator=step_generator(seed, step)).tolist())

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(seed, step) for seed in (0, 1, 12) for step in (0, 1, 2, 23, 123)}) == 15


# ---- rates, groups, clipping, averages


def test_rate_warms_up_in_a_line_and_stays():
    training = Training(steps=100, learning_rate=0.5, warmup_steps=10)
    assert [training.rate(i) for i in range(10)] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    assert {training.rate(i) for i in range(9, 101)} == {0.5}
    assert Training(learning_rate=0.5).rate(0) == 0.5


def test_rate_falls_in_a_cosine_to_one_percent():
    training = Training(steps=110, learning_rate=0.5, warmup_steps=10, decay="cosine")
    rates = [training.rate(i) for i in range(9, 111)]
    assert rates[0] == rates[1] == 0.5 and rates[-1] == pytest.approx(0.005)
    assert all(a > b for a, b in itertools.pairwise(rates[1:]))
    for i in (10, 35, 60, 85, 110):
        assert training.rate(i) == pytest.approx(0.5 * (0.01 + 0.99 * (1 + math.cos(math.pi * (i - 10) / 100)) / 2))
    assert training.rate(500) == pytest.approx(0.005), "not up again beyond the end"
    assert Training(steps=5, warmup_steps=5, decay="cosine").rate(4) == 1e-3


@every_game
def test_every_parameter_group_of_every_player_gets_the_rate(make):
    state, batches = fresh(make, EVENTFUL)
    moved = set()
    for progress in play(state, batches, EVENTFUL):
        for name, optimizer in state.optimizers.items():
            if f"{name}_gradient" in progress.metrics:
                moved.add(name)
                assert [g["lr"] for g in optimizer.param_groups] == [EVENTFUL.rate(progress.step - 1)] * len(optimizer.param_groups)
    assert moved == state.game.players.keys()


@pytest.mark.parametrize("spec", [MaskedPriorSpec(), MaskedPriorSpec(condition=NoConditionSpec())], ids=["classes", "unconditional"])
def test_weight_decay_acts_on_exactly_the_matrices_of_the_backbone(spec):
    state, _ = fresh(lambda: prior_game(spec), EVENTFUL)
    prior, groups = state.game.players["prior"], state.optimizers["prior"].param_groups
    held = [id(p) for g in groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in prior.parameters()), "every parameter stands in one group"
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    head = {id(p) for p in prior.head.parameters()}
    assert decayed == {id(p) for p in prior.parameters() if p.ndim > 1} - head
    named = {name for name, p in prior.named_parameters() if id(p) in decayed}
    assert {
        "from_bits.weight",
        "modulation.weight",
        "blocks.1.attention.qkv.weight",
        "blocks.0.feed_forward.w2.weight",
    } <= named
    assert not named & {
        "hidden",
        "norm.weight",
        "from_bits.bias",
        "blocks.0.attention_norm.weight",
        "head.net.out.weight",
    }
    assert {g["weight_decay"] for g in groups} == {0.0, 0.02} and {g["betas"] for g in groups} == {(0.9, 0.95)}


def test_a_move_is_a_step_of_torchs_adamw():
    """From the first one on: the moments that a state starts with count no step."""
    training = Training(steps=3, learning_rate=3e-3, weight_decay=0.1, clip_norm=0.0)
    state, batches = fresh(prior_game, training)
    advance(state, batches, training, training.steps)
    plain, batches = fresh(prior_game, training)
    prior = plain.game.players["prior"]
    groups = [{"params": g["params"], "weight_decay": 0.1 * g["decay"]} for g in plain.game.groups("prior")]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=training.betas)
    for step in range(training.steps):
        batch = batches(step)
        optimizer.zero_grad()
        prior.loss(batch.codes, batch.labels, step_generator(training.seed, step), 0.1).backward()
        optimizer.step()
    assert_bitwise(prior.state_dict(), state.game.players["prior"].state_dict())


def test_gradients_of_the_step_before_are_gone_when_the_forward_pass_begins():
    """Which is when memory is short; those of the last step stay to be looked at."""
    torch.manual_seed(0)
    game, seen = PriorGame(MaskedPriorSpec().build()), []
    parameters = list(game.players["prior"].parameters())
    game.players["prior"].blocks[0].register_forward_pre_hook(lambda *_: seen.append(any(p.grad is not None for p in parameters)))
    digits = torch.randint(0, 2, (4, 4, 4, 8), dtype=torch.uint8)
    training = Training(steps=3)
    list(play(State.start(game, training), lambda step: CodeBatch(Codes(digits, (2,) * 8), None), training))
    assert seen == [False] * 3 and all(p.grad is not None for p in game.players["prior"].blocks.parameters())


def test_clipping_bounds_the_gradient_of_each_player():
    """The gradient that the last move was made with is still there; the metric is its norm before clipping."""
    for clip in (1e-3, 0.05, 1e6, 0.0):
        training = dataclasses.replace(EVENTFUL, steps=START + 1, clip_norm=clip)
        state, batches = fresh(tokenizer_game, training)
        *_, last = play(state, batches, training)
        for name, module in state.game.players.items():
            before = last.metrics[f"{name}_gradient"]
            norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()
            assert norm == pytest.approx(min(before.item(), clip or math.inf), rel=1e-3) and before > 2e-3


@every_game
def test_the_average_is_an_exponential_one_of_every_nth_step(make):
    """Of parameters and of buffers, such as the running means of batch normalisation."""
    state, batches = fresh(make, EVENTFUL)
    wanted = {}
    for progress in play(state, batches, EVENTFUL):
        for name, module in state.game.players.items():
            if progress.step % EVENTFUL.ema_every == 0:
                now = {k: v.clone() for k, v in module.state_dict().items() if v.is_floating_point()}
                old = wanted.get(name, now)
                wanted[name] = {k: 0.9 * old[k] + 0.1 * v for k, v in now.items()}
            average = state.averages[name].module.state_dict()
            for k, v in wanted.get(name, {}).items():
                torch.testing.assert_close(average[k], v, rtol=0, atol=1e-6)
    for name, average in state.averages.items():
        assert not any(p.requires_grad for p in average.parameters())
        gap = [(a - p).abs().max() for a, p in zip(average.parameters(), state.game.players[name].parameters(), strict=True)]
        assert max(gap) > 1e-5


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
