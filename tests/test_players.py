"""How a player learns: each optimizer and average, and what a game remembers; stopped runs end bitwise where they would have ended."""

import copy
import math

import pytest
import torch
from test_loop import assert_bitwise, everything, to_disk_and_back
from torch import nn

from bitmosaic.spec import Spec
from bitmosaic.train.averages import AverageSpec, EMASpec, NoAverageSpec
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.loop import State, play
from bitmosaic.train.optimizers import AdamSpec, AdamWSpec, MuonSpec, OptimizerSpec, RMSpropSpec, SGDSpec
from bitmosaic.train.stage import averaged
from bitmosaic.train.training import AdversarialTraining, Player, Training

OPTIMIZERS = {
    "AdamW": AdamWSpec(), "Adam": AdamSpec(), "RMSprop": RMSpropSpec(), "RMSprop, momentum": RMSpropSpec(momentum=0.5),
    "Muon": MuonSpec(), "SGD": SGDSpec(momentum=0.0), "SGD, momentum": SGDSpec(), "SGD, Nesterov": SGDSpec(nesterov=True),
}  # fmt: skip
AVERAGES = {
    "EMA": EMASpec(0.9), "late": EMASpec(0.9, start=3), "every second": EMASpec(0.9, every=2), "ramp": EMASpec(0.9, ramp=0.3),
    "copied": EMASpec(0.9, buffers="copied"), "none": NoAverageSpec(),
}  # fmt: skip

PAIRS = {name: (optimizer, EMASpec(0.9)) for name, optimizer in OPTIMIZERS.items()}
PAIRS |= {name: (AdamSpec(), average) for name, average in AVERAGES.items()}


class Remembered(nn.Module):
    """The last vector that was seen, and a number that follows the loss."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(4))
        self.register_buffer("p", torch.tensor(0.0))


class Duel(Game):
    """A generator follows what is remembered, a discriminator the data; `spoil` makes a loss that is not finite."""

    def __init__(self, spoil=()):
        self.players = {"generator": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), "discriminator": nn.Linear(4, 1)}
        self.memory, self.spoil = Remembered(), spoil

    def play(self, batch, step, rng):
        made = self.players["generator"](torch.randn(batch.shape, generator=rng))
        loss = (made - self.memory.last - self.memory.p).square().mean() * (math.inf if step in self.spoil else 1)
        yield Turn("generator", loss, {"loss": loss.detach()})
        self.memory.last.copy_(batch[-1])
        self.memory.p += 0.1 * loss.detach().sign()
        judged = self.players["discriminator"](batch + 0.1 * torch.randn(batch.shape, generator=rng)).square().mean()
        yield Turn("discriminator", judged, {"discriminator": judged.detach()})


def batches(step):
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(step))


def started(training, seed=0, **game):
    torch.manual_seed(seed)
    return State.start(Duel(**game), training)


def training(generator=None, discriminator=None, **fields):
    learns = Player(AdamSpec(), 1e-2, average=NoAverageSpec())
    return AdversarialTraining(steps=6, generator=generator or learns, discriminator=discriminator or learns, **fields)


@pytest.mark.parametrize("stop", [0, 4])
@pytest.mark.parametrize(("optimizer", "average"), PAIRS.values(), ids=PAIRS)
def test_a_stopped_run_ends_bitwise_where_it_would_have_ended(optimizer, average, stop):
    how = training(Player(optimizer, 1e-2, 2, "cosine", 0.01, 0.5, average), Player(optimizer, 2e-2, average=average))
    whole = started(how)
    held = to_disk_and_back(whole.state_dict())
    for progress in play(whole, batches, how):
        if progress.step == stop:
            held = to_disk_and_back(whole.state_dict())
    again = started(how, seed=1)
    again.load_state_dict(held)
    list(play(again, batches, how))
    assert_bitwise(everything(whole), everything(again))
    assert any(bool(v.any()) for v in whole.game.memory.buffers())


def test_through_a_checkpoint_on_disk(tmp_path):
    how = training(Player(SGDSpec(), 1e-2), Player(RMSpropSpec(), 1e-2, average=NoAverageSpec()))
    whole = started(how)
    for progress in play(whole, batches, how):
        if progress.step == 3:
            save_checkpoint(tmp_path, whole, 1)
    again = started(how, seed=1)
    load_checkpoint(tmp_path, again)
    list(play(again, batches, how))
    assert_bitwise(everything(whole), everything(again))


@pytest.mark.parametrize("optimizer", [OPTIMIZERS[name] for name in OPTIMIZERS if name != "Muon"])  # for which see test_muon.py
def test_an_optimizer_is_torchs(optimizer):
    """Steps of the loop against torch's own class, with no state but what it makes for itself."""
    how = training(Player(optimizer, 1e-2, clip_norm=0.0, average=NoAverageSpec()))
    state = started(how)
    theirs = copy.deepcopy(state.game.players["generator"])
    made = type(optimizer.build([{"params": [nn.Parameter(torch.zeros(1))], "rate": 1.0}], 1e-2))
    names = {"SGD": ("momentum", "nesterov"), "RMSprop": ("alpha", "eps", "momentum")}.get(made.__name__, ("betas", "eps"))
    weights = [p for p in theirs.parameters()]
    extra = {"weight_decay": 0.0} if made is torch.optim.AdamW else {}
    own = made(weights, lr=1e-2, **{name: getattr(optimizer, name) for name in names}, **extra)
    for _ in play(state, batches, how):
        for p, moved in zip(weights, state.game.players["generator"].parameters(), strict=True):
            p.grad = moved.grad.clone()
        own.step()
        for mine, other in zip(state.game.players["generator"].parameters(), weights, strict=True):
            assert torch.equal(mine, other)


def test_every_optimizer_and_average_is_here():
    def kinds(of):
        return {kind for kind in Spec.table.values() if issubclass(kind, of)}

    assert {type(spec) for spec in OPTIMIZERS.values()} == kinds(OptimizerSpec)
    assert {type(spec) for spec in AVERAGES.values()} == kinds(AverageSpec)


def test_an_average_follows_its_formula():
    how = training(Player(SGDSpec(), 0.05, average=EMASpec(0.9, start=2, ramp=0.5)))
    state, wanted = started(how), None
    for progress in play(state, batches, how):
        now = state.game.players["generator"][0].weight.detach().clone()
        decay = 0.5 ** (1 / min(math.log(0.5) / math.log(0.9), 0.5 * progress.step))
        wanted = now if progress.step <= 2 else decay * wanted + (1 - decay) * now
        found = state.averages["generator"].module[0].weight
        assert torch.allclose(found, wanted, atol=1e-6) and (progress.step <= 2) == torch.equal(found, now)


def test_buffers_are_averaged_or_copied():
    found = {}
    for buffers in ("averaged", "copied"):
        how = training(Player(SGDSpec(), 0.05, average=EMASpec(0.9, buffers=buffers)))
        state = started(how)
        list(play(state, batches, how))
        found[buffers] = torch.equal(averaged(state, "generator")[1].running_mean, state.game.players["generator"][1].running_mean)
    assert found == {"averaged": False, "copied": True}


def test_without_an_average_the_last_weights_are_kept_and_are_a_copy():
    state = started(training())
    kept, player = averaged(state, "generator"), state.game.players["generator"]
    assert not state.averages and not kept.training and player.training
    assert kept is not player and all(torch.equal(v, player.state_dict()[k]) for k, v in kept.state_dict().items())


def test_what_a_game_remembers_is_as_before_where_a_move_is_left_out():
    state = started(training(), spoil=(3,))
    for progress in play(state, batches, training()):
        if progress.step == 3:
            before = copy.deepcopy(state.game.memory.state_dict())
        if progress.step == 4:
            assert progress.skips and all(torch.equal(v, before[k]) for k, v in state.game.memory.state_dict().items())
    assert not torch.equal(state.game.memory.last, before["last"])


def test_what_parts_remember_is_their_mean_or_cannot_be_cut():
    how = training(parts=2)
    state = started(how)
    next(play(state, batches, how))
    assert torch.allclose(state.game.memory.last, (batches(0)[-1] + batches(1)[-1]) / 2)
    Duel.whole_batches = True
    try:
        with pytest.raises(ValueError, match=r"parts: got 2; what this game remembers is of whole batches"):
            started(how)
    finally:
        Duel.whole_batches = False


@pytest.mark.parametrize(("kind", "wrong"), [
    (AdamWSpec, {"betas": (0.9, 1.0)}), (AdamSpec, {"eps": 0.0}), (RMSpropSpec, {"alpha": 1.5}), (SGDSpec, {"momentum": -0.1}),
    (SGDSpec, {"momentum": 0.0, "nesterov": True}), (EMASpec, {"decay": 1.0}), (EMASpec, {"every": 0}), (EMASpec, {"ramp": math.nan}),
    (EMASpec, {"start": -1}), (Player, {"learning_rate": 0.0}), (Player, {"weight_decay": -1.0}), (Player, {"clip_norm": math.nan}),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_description_goes_to_json_and_back():
    how = training(Player(RMSpropSpec(), 1e-4, average=EMASpec(ramp=0.05)), Player(SGDSpec(), average=NoAverageSpec()))
    assert Spec.from_json(how.to_json()) == how
    assert "optimizer" not in Training().to_json()  # as runs were described before players had their own
