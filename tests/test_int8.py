"""8-bit linear layers: close to the float ones, row by row, small, for drawing only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bitmosaic import Pipeline
from bitmosaic.nets.int8 import Int8Linear, quantize


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_the_error_of_a_product_is_that_of_rounding(bias):
    """Rounding to 1/127 of the largest of a row is uniform noise of step s: relative error of order max|x| / (127 sqrt(12) rms x)."""
    linear = nn.Linear(256, 192, bias=bias)
    x = random(0, 5, 7, 256) * torch.logspace(-4, 4, 7)[:, None]
    y, wanted = Int8Linear(linear)(x), linear(x)
    assert y.shape == wanted.shape and y.dtype == x.dtype
    without = wanted - (linear.bias if bias else 0)
    error = (y - wanted).norm(dim=-1) / without.norm(dim=-1)
    assert error.max() < 0.02 and error.mean() > 1e-4


def test_products_do_not_overflow_on_processors_without_vnni():
    """There pairs of products are added in 16 bits, and weights of 127 give sums that are wrong by a sixth."""
    code = "import torch, test_int8; print(test_int8.largest_error())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and float(done.stdout) < 0.02, done.stderr


@torch.no_grad()
def largest_error() -> float:
    """Relative to the norm of a row, of positive numbers, whose sums are the largest."""
    linear, x = nn.Linear(256, 192, bias=False), random(0, 5, 7, 256).abs()
    nn.init.uniform_(linear.weight, 0.5, 1)
    wanted = linear(x)
    return float(((Int8Linear(linear)(x) - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


@torch.no_grad()
def test_a_row_does_not_depend_on_the_others_and_nothing_is_nothing():
    layer = Int8Linear(nn.Linear(64, 64))
    x = random(1, 20, 64)
    whole = layer(x)
    assert all(torch.equal(layer(x[i : i + 1]), whole[i : i + 1]) for i in range(20))
    assert torch.equal(layer(torch.cat([x, 1e6 * x]))[:20], whole)
    assert torch.equal(layer(torch.zeros(3, 64)), layer.bias.expand(3, -1)) and layer(torch.zeros(0, 64)).shape == (0, 64)


def test_narrow_layers_stay_and_wide_ones_shrink():
    net = nn.Sequential(nn.Linear(20, 256), nn.ModuleDict({"a": nn.Linear(256, 128), "b": nn.LayerNorm(128)}))
    quantize(net)
    assert isinstance(net[0], nn.Linear) and isinstance(net[1]["a"], Int8Linear) and isinstance(net[1]["b"], nn.LayerNorm)
    assert sum(b.nbytes for b in net[1]["a"].buffers()) < 128 * 256 + 2 * 4 * 128 + 1


@torch.no_grad()
def test_a_pipeline_in_int8_draws_and_says_what_it_cannot(tmp_path):
    pipeline, floats = Pipeline.from_pretrained("fashion", dtype=torch.int8), Pipeline.from_pretrained("fashion")
    assert any(isinstance(m, Int8Linear) for m in pipeline.prior.modules()) and pipeline.prior.positions.dtype == torch.float32
    assert next(pipeline.tokenizer.parameters()).dtype == torch.float32
    codes = floats.encode(floats("bag", 1))
    labels = torch.tensor([8])
    known = torch.arange(49)[None] % 2 == 0
    a, b = (p.prior.context(codes.flat(), known, p.prior.embed(labels, 1)) for p in (pipeline, floats))
    assert 0 < (a - b).norm() / b.norm() < 0.05
    settings = {"num_inference_steps": 3, "evaluations": 2}
    *_, batch = pipeline.stream(["bag", "sandal"], [5, 6], **settings)
    *_, alone = pipeline.stream("sandal", 6, **settings)
    assert torch.equal(batch.codes.digits[1:], alone.codes.digits)
    with pytest.raises(ValueError, match="for drawing only"):
        pipeline.save_pretrained(tmp_path / "p")
    with pytest.raises(ValueError, match="int8 is for CPUs"):
        floats.to("meta", torch.int8)
