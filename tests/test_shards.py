"""The same loss curve in bf16 as in float32, shared out over two processes as in one, and worked out again in the backward pass."""

import json
import os
import subprocess
import sys

import pytest
import torch

from bitmosaic.codes import Codes
from bitmosaic.images import ArrayImages, Batches
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.code_store import CodeBatch
from bitmosaic.train.loop import State, play
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.processes import is_first, process_group
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

STEPS = 60
BF16 = 0.01  # of the loss, at every step: bf16 has 8 bits of precision, where float32 has 24


def prior_curve(precision, recompute=False, steps=STEPS):
    """Losses of a tiny prior that learns two grids by heart; its steps are in two parts, which processes share."""
    spec = MaskedPriorSpec(width=32, dropout=0.1, head=BernoulliDiffusionSpec(32, 2))
    digits = torch.randint(0, 2, (2, *spec.grid, spec.bits), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    which = torch.arange(16) % 2
    training = Training(
        steps=steps, batch_size=32, parts=2, learning_rate=1e-2, precision=precision, recompute=recompute, sharded=True
    )
    torch.manual_seed(0)
    game = PriorGame(spec.build())
    if recompute:
        game.recompute()
    batch = CodeBatch(Codes(digits[which], (2,) * spec.bits), which)
    return [float(one.metrics["loss"]) for one in play(State.start(game, training), lambda part: batch, training)]


def tokenizer_curve(precision, steps=STEPS):
    """Losses of a tiny tokenizer on eight smooth pictures."""
    waves = torch.linspace(0, 6, 16)[:, None] * torch.arange(1, 9)[:, None, None] * 0.3
    pixels = (127 * (1 + (waves + torch.linspace(0, 3, 16)).sin()))[:, None].expand(-1, 3, -1, -1).to(torch.uint8)
    training = Training(steps=steps, batch_size=8, learning_rate=1e-3, precision=precision)
    torch.manual_seed(0)
    game = TokenizerGame(BinaryAutoencoderSpec(width=16, embedding=16, groups=8, attention_sizes=()).build(), TokenizerLosses())
    batches = Batches(ArrayImages(pixels.contiguous(), torch.zeros(8, dtype=torch.long)), 8, 0)
    return [float(one.metrics["loss"]) for one in play(State.start(game, training), batches, training)]


def apart(one, other):
    """The greatest relative difference of two curves."""
    assert len(one) == len(other) > 0
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("steps, less", [(20, 0.95), pytest.param(STEPS, 0.8, marks=pytest.mark.slow)])
def test_a_prior_learns_in_bf16_what_it_learns_in_float32(steps, less):
    low, whole = (prior_curve(precision, steps=steps) for precision in ("bf16", "float32"))
    assert low != whole and whole[-1] < less * whole[0]
    assert apart(low, whole) < BF16


@pytest.mark.parametrize("steps, less", [(20, 0.9), pytest.param(STEPS, 0.5, marks=pytest.mark.slow)])
def test_a_tokenizer_learns_in_bf16_what_it_learns_in_float32(steps, less):
    """In the mean of a third: a bit that is drawn the other way changes a step's loss by more, as another seed of draws does."""
    low, whole = (torch.tensor(tokenizer_curve(one, steps)[: steps // 3 * 3]).view(3, -1).mean(1) for one in ("bf16", "float32"))
    assert not low.equal(whole) and whole[-1] < less * whole[0]
    torch.testing.assert_close(low, whole, rtol=0.1, atol=0)


# ---- processes, each of which runs this file


WAYS = [("float32", False), ("bf16", False), ("float32", True), ("bf16", True)]


@pytest.fixture(scope="module")
def shards():
    """Curves of two processes, by ways."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch, __file__], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(zip(WAYS, json.loads(done.stdout), strict=True))


@pytest.mark.slow
def test_shards_in_bf16_learn_what_one_process_learns(shards):
    """Nearly: FSDP2 holds norms and biases in bf16 too, where autocast leaves them in float32."""
    alone = prior_curve("bf16")
    assert apart(shards["bf16", False], alone) < BF16
    assert apart(shards["float32", False], prior_curve("float32")) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_shards_that_are_worked_out_again_learn_the_same(shards, precision):
    assert apart(shards[precision, True], shards[precision, False]) < 1e-5


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group("cpu"):
        found = [prior_curve(*way) for way in WAYS]
        if is_first():
            print(json.dumps(found))
