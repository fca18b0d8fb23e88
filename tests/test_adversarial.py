"""Adversarial games: their losses, the networks of StudioGAN, and a game that is played."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from reference import reference
from safetensors.torch import load_file
from test_generators import Images, batches, kinds, seeded, with_conditions
from test_loop import assert_bitwise, everything, to_disk_and_back
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.generators import DCGANSpec
from bitmosaic.losses.adversarial import AdversarialLossSpec, HingeSpec
from bitmosaic.losses.gradient_penalty import r1
from bitmosaic.nets.discriminators.base import ProjectionHead
from bitmosaic.nets.discriminators.deep_conv import DeepConvDiscriminatorSpec
from bitmosaic.train.adversarial_game import AdversarialGame, AdversarialLosses
from bitmosaic.train.averages import EMASpec
from bitmosaic.train.loop import State, play
from bitmosaic.train.optimizers import AdamSpec
from bitmosaic.train.stage import averaged
from bitmosaic.train.training import AdversarialTraining, Player

# ---- games and their losses


def game(losses=None, condition=None, seed=0):
    torch.manual_seed(seed)
    losses, condition = losses or AdversarialLosses(), condition or ClassConditionSpec()
    classes = getattr(condition, "classes", 0)
    return AdversarialGame(DCGANSpec(condition=condition).build(), DeepConvDiscriminatorSpec(classes=classes).build(), losses)


def law_every_parameter_is_reached(game, batch):
    reached = {}
    for step in range(2):
        for turn in game.play(batch, step, torch.Generator().manual_seed(step)):
            player = game.players[turn.player]
            player.zero_grad()
            turn.loss.backward()
            for name, p in player.named_parameters():
                there = p.grad is not None and (p.ndim == 1 or bool(p.grad.any()))  # hinge's two pulls at a bias may be equal
                reached[turn.player, name] = reached.get((turn.player, name), False) or there
    wanted = {(name, p) for name, player in game.players.items() for p, _ in player.named_parameters()}
    assert {key for key, there in reached.items() if there} == wanted


def law_draws_come_from_rng_alone(game, batch):
    held = {name: copy.deepcopy(player.state_dict()) for name, player in game.players.items()}
    found = []
    for _ in range(2):
        for name, player in game.players.items():
            player.load_state_dict(held[name])
        torch.manual_seed(len(found))
        before = torch.get_rng_state()
        found.append([turn.loss.detach() for turn in game.play(batch, 0, torch.Generator().manual_seed(3))])
        assert torch.equal(torch.get_rng_state(), before), "it drew from torch's global generator"
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def law_metrics_are_the_losses_that_they_name(game, batch):
    for step in range(2):
        for turn in game.play(batch, step, torch.Generator().manual_seed(1)):
            assert turn.loss.isfinite() and turn.metrics and all(m.ndim == 0 and m.isfinite() for m in turn.metrics.values())
            assert not any(m.requires_grad for m in turn.metrics.values())
            weights = {"r1": game.losses.r1_weight * game.losses.r1_every}
            named = turn.metrics[turn.player] + sum(weights[name] * turn.metrics[name] for name in weights if name in turn.metrics)
            assert torch.allclose(turn.loss, named, rtol=1e-5)


GAME_LAWS = [law_every_parameter_is_reached, law_draws_come_from_rng_alone, law_metrics_are_the_losses_that_they_name]


@pytest.mark.parametrize("law", GAME_LAWS, ids=lambda law: law.__name__)
@kinds(AdversarialLossSpec)
@with_conditions
def test_adversarial_game(kind, condition, law):
    law(game(AdversarialLosses(kind(), r1_weight=0.3, r1_every=2), condition), batches(DCGANSpec())(0))


class Raising(AdversarialGame):
    def play(self, batch, step, rng):
        yield from super().play(batch, step, rng)
        raise RuntimeError("no turn comes after the last")


class Global(AdversarialGame):
    def _made(self, count, labels, rng):
        return self.players["generator"](torch.randn(count, 8), labels)


class Forgetful(AdversarialGame):
    def play(self, batch, step, rng):
        for turn in super().play(batch, step, rng):
            if turn.player == "discriminator":
                yield turn


@dataclass(frozen=True)
class BrokenLossSpec(HingeSpec):
    """Of the test: a root of a number that is negative."""

    def generator(self, made):
        return (-made.square()).sqrt().mean()


@pytest.mark.parametrize("law", GAME_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", [Raising, Global, Forgetful, BrokenLossSpec])
def test_a_broken_game_or_loss_breaks_a_law(kind, law):
    fine = game(AdversarialLosses(BrokenLossSpec() if kind is BrokenLossSpec else HingeSpec(), r1_weight=0.1))
    if kind is not BrokenLossSpec:
        fine.__class__ = kind
    breaks = {
        Raising: GAME_LAWS, Global: GAME_LAWS[1:2], Forgetful: GAME_LAWS[:1], BrokenLossSpec: GAME_LAWS[2:],
    }  # fmt: skip
    if law in breaks[kind]:
        with pytest.raises((AssertionError, RuntimeError)):
            law(fine, batches(DCGANSpec())(0))


@kinds(AdversarialLossSpec)
def test_adversarial_loss_is_studiogans(kind):
    held = load_file(reference("studiogan_losses") / "adversarial.safetensors")
    name = {"HingeSpec": "hinge", "LogisticSpec": "logistic", "LeastSquaresSpec": "lsgan", "WassersteinSpec": "wasserstein"}[kind.__name__]
    real, fake = (held[key].requires_grad_() for key in ("real", "fake"))
    loss = kind().discriminator(real, fake)
    loss.backward()
    assert torch.allclose(loss, held[f"d_{name}"], atol=1e-6)
    assert torch.allclose(real.grad, held[f"d_{name}_grad_real"], atol=1e-6)
    assert torch.allclose(fake.grad, held[f"d_{name}_grad_fake"], atol=1e-6)
    fake.grad = None
    loss = kind().generator(fake)
    loss.backward()
    assert torch.allclose(loss, held[f"g_{name}"], atol=1e-6) and torch.allclose(fake.grad, held[f"g_{name}_grad_fake"], atol=1e-6)


def test_r1_is_studiogans():
    held = load_file(reference("studiogan_losses") / "regularisers.safetensors")
    images, labels = held["real"].requires_grad_(), held["label"]
    logits = (images.flatten(1) @ held["D.W1"].T + held["D.b1"]).tanh() @ held["D.w2"].squeeze() + held["D.b2"].squeeze()
    hidden = (images.flatten(1) @ held["D.W1"].T + held["D.b1"]).tanh()
    logits = logits + (held["D.E"][labels] * hidden).sum(1)
    assert torch.allclose(r1(logits, images), held["r1"], rtol=1e-5)


def test_projection_is_studiogans():
    held = load_file(reference("studiogan_losses") / "conditioning.safetensors")
    head = ProjectionHead(held["pd_h"].shape[1], len(held["pd_embedding"]))
    for layer, weight in ((head.linear, held["pd_w"].reshape(1, -1)), (head.embedding, held["pd_embedding"])):
        torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
        layer.weight.data.copy_(weight)
    head.linear.bias.data.copy_(held["pd_b"].reshape(1))
    labels = held["label_real"]
    assert torch.allclose(head(held["pd_h"], labels), held["pd_adv"], atol=1e-5)


# ---- the networks of StudioGAN


def studiogan(name):
    held = load_file(reference("studiogan_nets") / f"{name}.safetensors")
    return held, load_file(reference("studiogan_nets") / "images.safetensors")["x"]


def generator_of(held, conditional):
    condition = ClassConditionSpec(4) if conditional else NoConditionSpec()
    slope = 0.1 if conditional else 0.0  # as the tensors were made
    net = DCGANSpec((32, 32), 3, 10, condition, width=2, levels=3, embedding=4, slope=slope).build()
    found = {"linear.weight": held["G.linear0.weight"], "linear.bias": held["G.linear0.bias"]}
    found |= {f"out.{k}": held[f"G.conv4.{k}"] for k in ("weight", "bias")}
    plain = {k: k for k in ("bias", "weight", "running_mean", "running_var")}
    ours = {"bias.weight": "bias.weight", "gain.weight": "gain.weight", "norm.running_mean": "bn.running_mean"}
    norm = ours | {"norm.running_var": "bn.running_var"} if conditional else plain
    for i in range(3):
        found |= {f"convs.{i}.{k}": held[f"G.blocks.{i}.0.deconv0.{k}"] for k in ("weight", "bias")}
        found |= {f"norms.{i}.{name}": held[f"G.blocks.{i}.0.bn0.{theirs}"] for name, theirs in norm.items()}
    if conditional:
        found["condition.table.weight"] = torch.eye(5)[:, :4]  # StudioGAN tells a class by one of C numbers
    missing, extra = net.load_state_dict(found, strict=False)
    assert not extra and all("num_batches_tracked" in name for name in missing)
    return net


@pytest.mark.parametrize("name", ["deep_conv_cbn_ac_sn", "deep_conv_plain"])
def test_generator_is_studiogans(name):
    held, _ = studiogan(name)
    net, labels = generator_of(held, "cbn" in name), held["label"] if "cbn" in name else None
    z = held["z"].requires_grad_()
    images = net.eval()(z, labels) * 2 - 1
    (gradient,) = torch.autograd.grad(images.square().sum(), z)
    assert torch.allclose(images, held["g_eval"], atol=1e-5) and torch.allclose(gradient, held["g_eval_grad_z_of_sum_squares"], atol=1e-4)
    assert torch.allclose(net.train()(z, labels) * 2 - 1, held["g_train"], atol=1e-5)


def test_discriminator_is_studiogans():
    held, x = studiogan("deep_conv_cbn_ac_sn")
    net = DeepConvDiscriminatorSpec((32, 32), 3, 0, width=2, levels=3).build()
    layers = [f"blocks.{i}.0.conv{j}" for i in range(3) for j in range(2)] + ["conv1", "linear1"]
    for layer, name in zip([*net.convs, net.head.linear], layers, strict=True):
        layer.parametrizations.weight.original.data.copy_(held[f"D.{name}.weight_orig"])
        layer.bias.data.copy_(held[f"D.{name}.bias"])
        layer.parametrizations.weight[0]._u.copy_(held[f"D.{name}.weight_u"])
        layer.parametrizations.weight[0]._v.copy_(held[f"D.{name}.weight_v"])
    images = ((x + 1) / 2).requires_grad_()
    logits = net.eval()(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert torch.allclose(net.features(images), held["d_eval.h"], atol=1e-4)
    assert torch.allclose(logits, held["d_eval.adv_output"], atol=1e-5)
    assert torch.allclose(gradient / 2, held["d_eval_grad_x_of_adv_sum"], atol=1e-5)
    assert torch.allclose(net.train()(images), held["d_train.adv_output"], atol=5e-3)  # torch's newer power iterations follow u first


# ---- played


HOW = AdversarialTraining(
    steps=8, generator=Player(AdamSpec((0.0, 0.9)), 2e-3, clip_norm=0.0, average=EMASpec(0.9, ramp=0.3)),
    discriminator=Player(AdamSpec((0.0, 0.9)), 4e-3, clip_norm=0.0),
)  # fmt: skip
LOSSES = AdversarialLosses(r1_weight=0.1, r1_every=3, generator_every=2)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_game_ends_bitwise_where_it_would_have_ended(stop):
    whole, given = State.start(game(LOSSES), HOW), batches(DCGANSpec())
    for progress in play(whole, given, HOW):
        if progress.step == stop:
            held = to_disk_and_back(whole.state_dict())
    again = State.start(game(LOSSES, seed=1), HOW)
    again.load_state_dict(held)
    list(play(again, given, HOW))
    assert_bitwise(everything(whole), everything(again))


def test_the_average_evaluates_like_its_player_after_more_power_iterations():
    """Fifty of our own on the averages' weights find norms of 1, and the average of a player that stands still is that player."""
    how = replace(HOW, steps=40, discriminator=replace(HOW.discriminator, learning_rate=0.05, average=EMASpec(0.8)))
    state, given = State.start(game(LOSSES), how), batches(DCGANSpec())
    list(play(state, given, how))
    kept = averaged(state, "discriminator")
    layers = [layer for layer in kept.modules() if is_parametrized(layer)]
    assert len(layers) == 7
    for layer in layers:
        weight = layer.weight.detach().flatten(1).double()
        v = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0)).double()
        for _ in range(50):
            v = nn.functional.normalize(weight.T @ (weight @ v), dim=0)
        assert float((weight @ v).norm()) == pytest.approx(1, abs=1e-3)
    still = replace(how, steps=80, discriminator=replace(how.discriminator, learning_rate=1e-12))
    list(play(state, given, still))
    images, labels = given(0).images / 255, given(0).labels
    player = state.game.players["discriminator"]
    with torch.no_grad():
        for _ in range(100):
            player(images, labels)  # in training each pass is a power iteration
        player.eval()
        assert torch.allclose(averaged(state, "discriminator")(images, labels), player(images, labels), rtol=0.05, atol=1e-3)


def test_generator_moves_as_often_as_told_and_r1_comes_lazily():
    state = State.start(game(LOSSES), HOW)
    moved = [(set(p.metrics) & {"generator", "discriminator", "r1"}) for p in play(state, batches(DCGANSpec()), HOW)]
    assert [m >= {"generator"} for m in moved] == [False, True] * 4 and all("discriminator" in m for m in moved)
    assert ["r1" in m for m in moved] == [True, False, False] * 2 + [True, False]


def test_a_generator_learns_the_colour_of_its_class():
    """Three classes of one colour each: red, green, blue."""
    torch.manual_seed(0)
    spec = DCGANSpec((8, 8), 3, 4, ClassConditionSpec(3), 8, 1, 4)
    playing = AdversarialGame(spec.build(), DeepConvDiscriminatorSpec((8, 8), 3, 3, 8, 1).build(), AdversarialLosses(diffaugment=False))
    learns = Player(AdamSpec((0.0, 0.9)), 3e-3, clip_norm=0.0, average=EMASpec(0.9))

    def given(step):
        labels = torch.arange(12) % 3
        return Images((torch.eye(3)[labels] * 255).to(torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8), labels)

    how = AdversarialTraining(steps=150, generator=learns, discriminator=learns)
    state = State.start(playing, how)
    list(play(state, given, how))
    images = averaged(state, "generator").sample(seeded(*range(12)), torch.arange(12) % 3)
    assert torch.equal(images.mean((2, 3)).argmax(1), torch.arange(12) % 3)


@pytest.mark.parametrize("wrong", [{"r1_weight": -1.0}, {"r1_every": 0}, {"generator_every": 0}, {"r1_weight": float("inf")}])
def test_losses_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdversarialLosses(**wrong)
