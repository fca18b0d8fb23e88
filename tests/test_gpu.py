"""What only a GPU can show: nothing here runs where there is none. Figures of an H100 stand in docs/performance.md."""

import dataclasses
import gc
import warnings
from types import SimpleNamespace

import pytest
import torch

from bitmosaic import Pipeline
from bitmosaic.codes import Codes
from bitmosaic.images import fashion_sample
from bitmosaic.priors.likelihood import code_length
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes import fashion
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.cost import cost
from bitmosaic.train.loop import State, play
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.stages import PriorStage
from bitmosaic.train.tokenizer_game import TokenizerGame
from bitmosaic.train.training import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
WIDE = MaskedPriorSpec((16, 16), 24, 4, 4, 256, dropout=0.1)  # attention over several blocks of keys


@pytest.fixture(scope="module")
def pipes():
    return {device: Pipeline.from_pretrained("fashion", device) for device in ("cpu", "cuda")}


def waits(work) -> int:
    """How often `work()` waits for the device, beside the end of it."""
    work()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in seen)


def prior_batch(spec, n):
    digits = torch.randint(0, 2, (n, *spec.grid, spec.bits), generator=torch.Generator().manual_seed(0)).byte()
    return SimpleNamespace(codes=Codes(digits, (2,) * spec.bits), labels=torch.zeros(n, dtype=torch.long))


def tokenizer_game():
    run = fashion()
    losses = dataclasses.replace(run.tokenizer_losses, adversarial_start=0)
    game = TokenizerGame(run.tokenizer.build(), losses, run.features.net.build().cuda())
    return game, SimpleNamespace(images=fashion_sample().pixels[:16])


def trained(game, batch, training):
    for player in game.players.values():
        player.cuda()
    state = State.start(game, training, "cuda")
    for _ in play(state, lambda step: batch, training, "cuda"):
        pass
    return state


def weights(state):
    return torch.cat([p.detach().flatten() for m in state.game.players.values() for p in m.parameters()])


def test_codes_and_images_are_those_of_a_cpu(pipes):
    images = fashion_sample().pixels[:200].float() / 255
    codes = {device: pipe.encode(images) for device, pipe in pipes.items()}
    assert torch.equal(codes["cpu"].digits, codes["cuda"].digits.cpu())
    made = {device: pipe.decode(codes["cpu"], "pt") for device, pipe in pipes.items()}
    assert (made["cpu"] - made["cuda"]).abs().max() < 1e-5


def test_likelihoods_are_those_of_a_cpu(pipes):
    codes = pipes["cpu"].encode(fashion_sample().pixels[:20].float() / 255)
    nothing = torch.zeros(20, 7, 7, dtype=torch.bool)
    found = [
        code_length(pipe.prior, codes.to(device), nothing.to(device), None, torch.Generator().manual_seed(0)).cpu()
        for device, pipe in pipes.items()
    ]
    assert torch.allclose(*found, rtol=1e-5)


@pytest.mark.parametrize("sampler, most", [("entropy-ordered", 3), ("marginals-first", 3)])
def test_a_round_waits_for_what_its_comment_says(pipes, sampler, most):
    def work():
        for _ in pipes["cuda"].stream([1, 2], [1, 2], sampler=sampler, num_inference_steps=8):
            pass

    assert waits(work) <= 8 * most + 4


def test_raster_order_waits_once(pipes):
    assert waits(lambda: [step for step in pipes["cuda"].stream([1, 2], [1, 2], sampler="raster")]) <= 4


def test_a_step_of_training_waits_a_few_times():
    game, training = PriorGame(WIDE.build().cuda()), Training(steps=100)
    walk = play(State.start(game, training, "cuda"), lambda step: prior_batch(WIDE, 4), training, "cuda")
    assert waits(lambda: next(walk)) <= 6


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("what", ["tokenizer", "prior"])
def test_trained_twice_ends_bitwise_the_same(what, precision):
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        game, batch = tokenizer_game() if what == "tokenizer" else (PriorGame(WIDE.build()), prior_batch(WIDE, 8))
        found.append(weights(trained(game, batch, Training(steps=6, precision=precision))))
    assert torch.equal(*found) and not torch.are_deterministic_algorithms_enabled()


def test_a_checkpoint_comes_back(tmp_path):
    state, training = trained(*tokenizer_game(), Training(steps=2)), Training(steps=2)
    save_checkpoint(tmp_path, state, 1)
    game, _ = tokenizer_game()
    for player in game.players.values():
        player.cuda()
    other = State.start(game, training, "cuda")
    assert load_checkpoint(tmp_path, other) is not None and torch.equal(weights(state), weights(other))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_holds_what_was_planned(precision, recompute):
    spec = dataclasses.replace(WIDE, depth=8, width=512, heads=8)
    training = Training(steps=2, batch_size=16, precision=precision, recompute=recompute)
    trained(PriorGame(MaskedPriorSpec().build()), prior_batch(MaskedPriorSpec(), 2), Training(steps=1))  # what is there once for all
    gc.collect()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    game = PriorGame(spec.build())
    if recompute:
        game.recompute()
    trained(game, prior_batch(spec, 16), training)
    stage = PriorStage(prior=spec, prior_training=training)
    planned = cost("prior", lambda: stage.game({}), lambda images: stage.batch(None, images), training, "cuda").memory(1, False, recompute)
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(planned, rel=0.06)
