"""Grids of one and of three axes: every prior is trained, asked and coded on them, and one of lengths stops where it says."""

import dataclasses
import math

import pytest
import torch

from bitmosaic.codec import Container, PriorCoder, UniformCoder
from bitmosaic.codec.base import CodecError
from bitmosaic.codec.coding import compress, decompress
from bitmosaic.codes import Codes, behind_end, lengths
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.pipelines.codes import default_sampler
from bitmosaic.priors import AutoregressivePriorSpec, D3PMSpec, LlamaGenSpec, MaskedDigitsSpec, MaskedPriorSpec, MaskGITSpec
from bitmosaic.priors.likelihood import code_length
from bitmosaic.samplers import LlamaGenSamplerSpec, RasterSpec
from bitmosaic.spec import Spec

PRIORS = [MaskedPriorSpec, AutoregressivePriorSpec, MaskedDigitsSpec, MaskGITSpec, LlamaGenSpec, D3PMSpec]


def prior_and_codes(kind, grid, batch=3, **fields):
    torch.manual_seed(0)
    prior = kind(grid=grid, **fields).build()
    with torch.no_grad():
        for p in prior.parameters():
            p.normal_(0, 0.2)
    digits = torch.stack([torch.randint(r, (batch, *grid)) for r in prior.radix], -1)
    return prior, Codes(digits, prior.radix)


@pytest.mark.parametrize("grid", [(6,), (2, 3, 2), (2, 1, 2, 2)])
@pytest.mark.parametrize("kind", PRIORS, ids=lambda kind: kind.__name__)
def test_priors_live_on_grids_of_any_axes(kind, grid):
    prior, codes = prior_and_codes(kind, grid)
    labels = torch.arange(3) % 2
    prior.loss(codes, labels, torch.Generator().manual_seed(0), 0.0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in prior.parameters())
    prior.eval()
    sampler, known = default_sampler(prior).build(), torch.zeros(3, *grid, dtype=torch.bool)
    known.flatten(1)[:, 0] = True
    drawn = []
    for some in (slice(0, 3), slice(1, 2)):
        rngs = [torch.Generator().manual_seed(seed) for seed in range(3)][some]
        *_, last = sampler(prior, codes[some], known[some], labels[some], rngs)
        assert last.known.all() and last.codes.grid == grid
        drawn.append(last.codes.check())
    assert torch.equal(drawn[0].digits.flatten(1, -2)[:, 0], codes.digits.flatten(1, -2)[:, 0])
    assert torch.equal(drawn[0][1].digits, drawn[1].digits)
    bits = code_length(prior, codes, torch.zeros_like(known), labels, torch.Generator().manual_seed(0))
    assert bits.shape == (3,) and bits.isfinite().all() and bits.min() > 0


@pytest.mark.parametrize("grid", [(6,), (2, 3, 2)])
def test_codes_on_any_grid_are_compressed(grid):
    prior, codes = prior_and_codes(LlamaGenSpec, grid)
    for coder in (UniformCoder(), PriorCoder(prior.eval())):
        files = compress(codes, coder, b"abcd", 2)
        read = [Container.from_bytes(file) for file in files]
        assert all(file.grid == grid and file.to_bytes() == data for file, data in zip(read, files, strict=True))
        assert files[0][3] == 3, "version 3 is of grids that have not two axes"
        found, known, wrong = decompress(read, coder, False, codes.radix)
        assert torch.equal(found.digits, codes.digits) and known.all() and wrong == [None] * 3
        damaged = bytearray(files[0])
        damaged[12 if coder.number == 2 else 8] = 2  # axes: two are version 2's
        with pytest.raises(CodecError):
            Container.from_bytes(bytes(damaged))


def test_a_file_holds_so_many_places_along_an_axis():
    file = Container(0, b"abcd", b"", (70_000,), 1, (), (0,), (b"",))
    with pytest.raises(CodecError, match="70000 places: a file holds at most 65,536 along an axis"):
        file.to_bytes()


def test_rotary_angles_are_shared_out_among_the_axes():
    table = rotary_table((2, 3, 2), 16)  # 8 pairs: 3, 3 and 2
    assert table.shape == (13, 8, 2) and not table[0].any()
    angle = torch.atan2(table[1:, :, 1], table[1:, :, 0]).view(2, 3, 2, 8)
    assert not angle[0, :, :, :3].any() and not angle[:, 0, :, 3:6].any() and not angle[:, :, 0, 6:].any()
    torch.testing.assert_close(angle[1, 2, 1, [0, 3, 6]], torch.tensor([1.0, 2.0, 1.0]))
    one = rotary_table((5,), 8)
    assert one[3, 0].tolist() == pytest.approx([math.cos(2), math.sin(2)])


@pytest.mark.parametrize("kind", [MaskedPriorSpec, LlamaGenSpec, D3PMSpec], ids=lambda kind: kind.__name__)
def test_widths_that_rotary_embedding_cannot_share_out(kind):
    for grid, width, told in (((4, 4), 12, "12 is not divisible by 4 x 2"), ((4,), 6, "6 is not divisible by 2 x 2"),
                              ((2, 2, 2), 8, "8 is too small: 3-D rotary embedding needs 6 numbers")):  # fmt: skip
        with pytest.raises(ValueError, match=f"width {told}"):
            kind(grid=grid, width=width, heads=2)
    for grid in ((), (0,), (4, 0, 2)):
        with pytest.raises(ValueError, match="grid: got "):
            kind(grid=grid)


# ---- lengths


def test_lengths_end_at_the_first_end():
    codes = Codes(torch.tensor([[3, 1, 4, 2, 4], [4, 0, 0, 0, 0], [1, 2, 3, 1, 2]])[..., None], (5,))
    assert lengths(codes, 4) == [2, 0, 5]
    assert behind_end(codes.flat(), 4).int().tolist() == [[0, 0, 1, 1, 1], [1] * 5, [0] * 5]


@pytest.mark.parametrize("sampler", [LlamaGenSamplerSpec(1.0), RasterSpec(guidance_scale=1.0)], ids=lambda sampler: type(sampler).__name__)
def test_nothing_is_drawn_behind_the_end(sampler):
    """What comes before is as without an end, and a batch whose images have all ended is not asked any more."""
    end, grid = 7, (12,)
    prior, codes = prior_and_codes(LlamaGenSpec, grid, 4, codewords=8, condition=ClassConditionSpec(2))
    free = prior.eval()
    ending = dataclasses.replace(prior.spec, end=end).build().eval()
    ending.load_state_dict(free.state_dict())
    assert Spec.from_json(ending.spec.to_json()) == ending.spec and "end" not in free.spec.to_json()
    known = torch.zeros(4, *grid, dtype=torch.bool)
    labels = torch.arange(4) % 2

    def drawn(prior):
        rngs = [torch.Generator().manual_seed(seed) for seed in range(4)]
        steps = list(sampler.build()(prior, codes, known, labels, rngs))
        assert steps[-1].known.all() and steps[-1].index == steps[-1].total == 12
        return steps[-1].codes, len(steps)

    (plain, _), (ended, steps) = drawn(free), drawn(ending)
    counts = lengths(ended, end)
    assert counts == lengths(plain, end) and min(counts) < 11
    for one, other, count in zip(ended.digits, plain.digits, counts, strict=True):
        assert torch.equal(one[:count], other[:count]) and (one[count:] == end).all()
    assert steps == min(12, max(counts) + 2), "one step draws the last end, the next sees that all have ended"


def test_an_end_that_is_no_index():
    with pytest.raises(ValueError, match="end 24 one of 24 indices"):
        LlamaGenSpec(end=24)
    spec = LlamaGenSpec(end=3)
    assert spec.on((5,), (2,), spec.condition).end is None and spec.on((5,), (9,), spec.condition, 8).end == 8
