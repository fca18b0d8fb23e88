"""Averages of networks with spectral norms have norms of 1; of all others they are torch's, bit for bit."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import spectral_norm as older
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bitmosaic.train.averages import settled, spectral_norms, update
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.loop import State, play
from bitmosaic.train.stage import averaged
from bitmosaic.train.training import Training

TRAINING = Training(steps=60, learning_rate=0.1, ema_decay=0.99)


@dataclass(frozen=True)
class Floats:
    x: torch.Tensor


def batches(step):
    return Floats(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step)))


class Normed(Game):
    """Learns to give 1 of noise, which moves its weights far."""

    def __init__(self, norm, seed=0):
        torch.manual_seed(seed)
        convolutions = [norm(nn.Conv2d(3, 24, 3)), nn.ReLU(), norm(nn.Conv2d(24, 24, 3))]
        self.players = {"net": nn.Sequential(*convolutions, nn.Flatten(), norm(nn.Linear(24 * 16, 32)), nn.Linear(32, 1))}

    def play(self, batch, step, rng):
        loss = (self.players["net"](batch.x + torch.randn(batch.x.shape, generator=rng)) - 1).square().mean()
        yield Turn("net", loss, {"loss": loss.detach()})


def norms(net):
    """Of every weight that is normalised, by fifty power iterations of our own."""
    net.eval()
    net(torch.zeros(1, 3, 8, 8))  # the older kind computes its weights in the forward pass
    found = []
    for layer in (net[0], net[2], net[4]):
        weight = layer.weight.detach().flatten(1).double()
        v = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0)).double()
        for _ in range(50):
            v = nn.functional.normalize(weight.T @ (weight @ v), dim=0)
        found.append(float((weight @ v).norm()))
    return found


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, older], ids=["parametrization", "hook"])
@pytest.mark.parametrize("decay", [0.5, 0.99, 0.999])
def test_spectral_norms_of_the_average_are_one(norm, decay):
    training = replace(TRAINING, ema_decay=decay)
    state = State.start(Normed(norm), training)
    before = [p.clone() for p in state.averages["net"].module.parameters()]
    list(play(state, batches, training))
    assert any(not torch.allclose(a, b, atol=0.1) for a, b in zip(before, state.game.players["net"].parameters(), strict=True))
    assert norms(state.averages["net"].module) == pytest.approx([1, 1, 1], abs=0.001)
    assert norms(averaged(state, "net")) == pytest.approx([1, 1, 1], abs=0.0001)


def test_torchs_own_average_has_not():
    """What was wrong, so that this test can fail: the mean of unit vectors is short."""
    state = State.start(Normed(parametrizations.spectral_norm), TRAINING)
    plain = AveragedModel(state.game.players["net"], multi_avg_fn=get_ema_multi_avg_fn(TRAINING.ema_decay), use_buffers=True)
    for _ in play(state, batches, TRAINING):
        plain.update_parameters(state.game.players["net"])
    assert max(norms(plain.module)) > 1.8


def test_looking_at_an_average_changes_nothing():
    state = State.start(Normed(parametrizations.spectral_norm), TRAINING)
    list(play(state, batches, TRAINING))
    held = {k: v.clone() for k, v in state.averages["net"].state_dict().items()}
    made = averaged(state, "net")
    assert made is not state.averages["net"].module and all(torch.equal(v, held[k]) for k, v in state.averages["net"].state_dict().items())
    assert len(list(spectral_norms(made))) == 3


def test_a_run_with_spectral_norms_goes_on_bitwise(tmp_path):
    whole = State.start(Normed(parametrizations.spectral_norm), TRAINING)
    for progress in play(whole, batches, TRAINING):
        if progress.step == 23:
            save_checkpoint(tmp_path, whole, 1)
    again = State.start(Normed(parametrizations.spectral_norm, seed=1), TRAINING)
    load_checkpoint(tmp_path, again)
    assert again.step == 23
    list(play(again, batches, TRAINING))
    one, other = whole.averages["net"].state_dict(), again.averages["net"].state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_average_of_a_network_without_them_is_torchs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(6, 2))
    ours, theirs = (AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True) for _ in range(2))
    for _ in range(5):
        with torch.no_grad():
            for value in net.state_dict().values():
                value += torch.randn(value.shape).to(value.dtype) if value.is_floating_point() else 1
        update(ours, net)
        theirs.update_parameters(net)
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    assert settled(net) is net


def test_a_norm_behind_another_parametrization_sees_what_that_makes():
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    torch.manual_seed(0)
    layer = nn.Linear(9, 7)
    parametrize.register_parametrization(layer, "weight", Doubled())
    parametrizations.spectral_norm(layer)
    made = settled(layer)
    assert float(torch.linalg.matrix_norm(made.eval().weight.detach(), 2)) == pytest.approx(1, abs=1e-5)
