"""The plan of a run: counted operations and memory against the formula, real tensors, and one another."""

import dataclasses
import math
from functools import partial

import pytest
import torch
from cover import covered
from torch.utils.flop_counter import FlopCounterMode

from bitmosaic.codes import Codes
from bitmosaic.images import ArrayImages, Batches
from bitmosaic.nets.llama import Block, attend
from bitmosaic.nets.precision import autocast
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes import bigr_l, fashion
from bitmosaic.train.arithmetic import Arithmetic
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.cost import cost
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.loop import State, play, step_generator
from bitmosaic.train.plan import costs
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.rehearsal import StepCounter, rehearse
from bitmosaic.train.stages import PriorStage
from bitmosaic.train.tokenizer_game import TokenizerGame
from bitmosaic.train.training import Training


def formula(spec):
    """Operations of the backbone's matrix products, forward and backward, for one image: projections, SwiGLU and attention."""
    n, width = math.prod(spec.grid) + 1, spec.width
    inner = -(-int(8 * width / 3) // 256) * 256
    return 3 * spec.depth * (2 * n * (4 * width**2 + 3 * width * inner) + 4 * n * n * width)


@pytest.mark.parametrize("run", [fashion(), bigr_l("data")], ids=["fashion", "bigr-l"])
def test_operations_are_those_of_the_formula(run):
    """The head, the modulation and the embedding of bits come on top: under a quarter."""
    *_, prior = costs(run)
    flop, again = prior.flop(), prior.flop(recompute=True)
    assert formula(run.prior) < flop < 1.25 * formula(run.prior)
    assert flop + 0.9 * formula(run.prior) / 3 < again < flop + 1.2 * formula(run.prior) / 3
    assert prior.parameters == sum(p.numel() for p in run.prior.build().parameters()) if run.name == "fashion" else True


SPEC = MaskedPriorSpec(grid=(8, 8), bits=8, depth=3, heads=2, width=128, head=BernoulliDiffusionSpec(64, 2))


def prior_cost(spec, training, device="cuda"):
    """Of a prior alone."""
    stage = PriorStage(prior=spec, prior_training=training)
    return cost("prior", lambda: stage.game({}), partial(stage.batch, None), training, device)


def batches(training, spec=SPEC):
    """Random codes."""
    digits = torch.randint(0, 2, (training.part_size, *spec.grid, spec.bits), dtype=torch.uint8)
    return lambda step: CodeBatch(Codes(digits, (2,) * spec.bits), None)


def test_operations_are_those_of_a_real_step():
    training = Training(steps=1, batch_size=16)
    state = State.start(PriorGame(SPEC.build()), training)
    with FlopCounterMode(display=False) as counter:
        list(play(state, batches(training), training))
    assert counter.get_total_flops() / 16 == prior_cost(SPEC, training, "cpu").flop()
    assert counter.get_total_flops() / 16 == pytest.approx(prior_cost(SPEC, training).flop(), rel=0.03)


@pytest.mark.parametrize("recompute, parts, precision", covered([False, True], [1, 2], ["float32", "bf16"]))
def test_memory_is_what_a_real_run_holds(precision, parts, recompute):
    """All bytes that live at the height of two real steps: weights, moments, averages, gradients, activations, what is passing."""
    training = Training(steps=2, batch_size=16, parts=parts, precision=precision, recompute=recompute)
    with StepCounter() as live:
        game = PriorGame(SPEC.build())
        if recompute:
            game.recompute()
        list(play(State.start(game, training), batches(training), training))
    assert live.most == pytest.approx(prior_cost(SPEC, training, "cpu").memory(1, False, recompute), rel=0.02)


@pytest.mark.parametrize("precision, perceptual", covered(["float32", "bf16"], [0.0, 0.1], ways=1))
def test_a_tokenizer_and_its_adversary_hold_what_was_planned(precision, perceptual):
    """With the network of a perceptual distance too, which is asked twice, once for gradients."""
    run = fashion()
    losses = dataclasses.replace(run.tokenizer_losses, perceptual_weight=perceptual, adversarial_start=0)
    training = dataclasses.replace(run.tokenizer_training, steps=2, batch_size=8, precision=precision, optimizer=None)  # AdamW
    *_, tokenizer, _ = costs(run.changed(tokenizer_losses=losses, tokenizer_training=training), "cpu")
    images = ArrayImages(torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8), torch.zeros(8, dtype=torch.long))
    with StepCounter() as live:
        game = TokenizerGame(run.tokenizer.build(), losses, run.features.net.build().eval().requires_grad_(False) if perceptual else None)
        list(play(State.start(game, training), Batches(images, 8, 0), training))
    assert live.most == pytest.approx(tokenizer.memory(1, False, False), rel=0.05)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_lives_is_what_autograd_keeps(precision):
    """Nearly: nothing else is large at the end of a forward pass, where most lives."""
    training, found = Training(batch_size=16, precision=precision), {}
    game = PriorGame(SPEC.build())
    weights = {p.untyped_storage().data_ptr() for p in game.players["prior"].parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = (storage, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(precision):
        next(game.play(batches(training)(0), 0, step_generator(0, 0)))
    counted = prior_cost(SPEC, training, "cpu").step(16, False, False).bytes
    assert sum(size for _, size in found.values()) == pytest.approx(counted, rel=0.1)


@dataclasses.dataclass(frozen=True)
class Signals:
    """A batch of nothing that the package knows."""

    x: torch.Tensor


class BlockGame(Game):
    """One block, which attends by torch's call, or as it would by itself."""

    def __init__(self, sees):
        self.players, self.sees = {"block": Block(16, 4)}, sees
        self.blocks = [self.players["block"]]

    def play(self, batch, step, rng):
        modulation = torch.randn(len(batch.x), 6, 16, generator=rng)
        yield Turn("block", self.players["block"](batch.x, modulation, rotary_table((16, 16), 4), sees=self.sees).float().sum())


class ChoosyGame(Game):
    """Two players, of which each looks at values: where it is positive, how large it is."""

    period = 2

    def __init__(self):
        self.players = {name: torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16)) for name in "ab"}

    def play(self, batch, step, rng):
        made = self.players["a"](batch.x)
        chosen = (made.detach() > -1e9).flatten().nonzero()[:, 0]
        yield Turn("a", made.flatten()[chosen].sum() * float(made.mean().item() > -1e9))
        if step % 2:
            yield Turn("b", self.players["b"](made.detach()).square().mean())


def held_in_a_step(game, batch, training):
    """The most bytes that live in one, beside weights."""
    with StepCounter([t for module in game.players.values() for t in module.parameters()]) as counter:
        turns = game.play(batch, training.steps - 1, step_generator(0, 0))
        while True:
            with autocast(training.precision):
                turn = next(turns, None)
            if turn is None:
                return counter
            turn.loss.backward()


@pytest.mark.parametrize("precision, recompute", covered(["float32", "bf16"], [False, True], ways=1))
def test_a_gpu_keeps_no_matrices_of_attention(precision, recompute):
    """A block as on a GPU against a real one with torch's fused attention; matrices would be 64 times as large as queries."""
    training, batch = Training(precision=precision), Signals(torch.randn(2, 257, 16))
    fused, counted = torch.nn.functional.scaled_dot_product_attention, {}
    for device, sees in (("cpu", attend), ("cuda", fused)):
        counted[device] = rehearse(partial(BlockGame, sees), lambda: batch, training, device, recompute=recompute).with_gradients
    game = BlockGame(fused)
    if recompute:
        game.recompute()
    assert counted["cuda"] == pytest.approx(held_in_a_step(game, batch, training).most, rel=0.1)
    assert counted["cpu"] > 1.5 * counted["cuda"]


def test_a_game_that_looks_at_values_is_planned():
    """What hangs on the values of what networks make is worked out on ones; all kinds of steps are played."""
    batch, training = Signals(torch.randn(512, 16)), Training(steps=4)
    planned, held = rehearse(ChoosyGame, lambda: batch, training, "cpu"), held_in_a_step(ChoosyGame(), batch, training)
    assert planned.with_gradients == pytest.approx(held.most, rel=0.02) and 0 < planned.bytes < planned.with_gradients
    assert planned.flop == pytest.approx(held.flop * 0.75), "the second player moves in every other step"


def test_cuda_normalises_in_float32():
    """As its autocast does, and a CPU's does not; in float32 nothing is changed."""
    x, net = torch.empty(1, 8, 4, 4, device="meta"), torch.nn.Conv2d(8, 8, 1, device="meta")
    for precision, device, wanted in (("bf16", "cuda", torch.float32), ("bf16", "cpu", torch.bfloat16), ("float32", "cuda", torch.float32)):
        with Arithmetic(device, precision == "bf16"):
            assert torch.nn.functional.group_norm(net(x), 4).dtype == wanted
    with autocast("bf16"):
        real = torch.nn.Conv2d(8, 8, 1)(torch.ones(1, 8, 4, 4))
        assert torch.nn.functional.group_norm(real, 4).dtype == torch.bfloat16


def test_cuda_widens_what_a_gate_is_added_to():
    """Its autocast takes addcmul in the widest type of its factors: offsets of modulation are float32, and so the stream becomes."""
    x, gate = torch.empty(2, 9, 16, dtype=torch.bfloat16, device="meta"), torch.empty(2, 1, 16, device="meta")
    with Arithmetic("cuda", True):
        assert torch.addcmul(x, gate, x).dtype == torch.float32 and torch.addcmul(x, gate.bfloat16(), x).dtype == torch.bfloat16


def test_dropout_is_planned():
    """A mask for each of two drops in each block, in the type of what is dropped."""
    training, found = Training(batch_size=16), {}
    for dropout in (0.0, 0.1):
        found[dropout] = prior_cost(dataclasses.replace(SPEC, dropout=dropout), training, "cuda").step(16, False, False).bytes
    masks = 2 * SPEC.depth * 16 * (math.prod(SPEC.grid) + 1) * SPEC.width * 4
    assert found[0.1] - found[0.0] == pytest.approx(masks, rel=0.2)


RESIDENT = """
import sys
from functools import partial
from dataclasses import replace
import torch
from cover import covered
from test_plan import SPEC, batches, prior_cost
from bitmosaic.train.cost import cost
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.loop import State, play
from bitmosaic.train.stages import PriorStage
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.training import Training

def held(kind):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(kind)) * 1024

def trained(spec, training):
    game = PriorGame(spec.build())
    if training.recompute:
        game.recompute()
    list(play(State.start(game, training), batches(training, spec), training))

torch.set_num_threads(1)
spec = replace(SPEC, grid=(16, 16), depth=8, heads=4, width=256)
training = Training(steps=2, batch_size=4, recompute=sys.argv[1] == "True")
planned = prior_cost(spec, training, "cpu").memory(1, False, training.recompute)
trained(replace(spec, width=32, depth=1, grid=(2, 2)), training)  # what is there once for all
before = held("RssAnon")
trained(spec, training)
grown = held("VmHWM") - held("RssFile") - held("RssShmem") - before  # ru_maxrss would be its parent's, if that is larger
print(grown / planned)
"""
