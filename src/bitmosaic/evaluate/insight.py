"""Inside a pipeline: a prior's entropy while places are revealed, the order in which they are, and what each bit means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.pipelines import Condition, TwoStagePipeline
from bitmosaic.pipelines.conditions import pairs


@dataclass(frozen=True)
class Moment:
    """One moment of sampling a batch of images."""

    known: Tensor  # (b, *grid) bool
    digits: Tensor  # (b, *grid, k), 0 at places that are not known
    images: Tensor  # (b, C, H, W) in [0, 1], what the codes known so far decode to
    entropy: Tensor  # (b, *grid) in [0, 1], mean entropy in bits a bit of places that are still open, 0 elsewhere


def reveal(
    pipeline: TwoStagePipeline, condition: Condition = None, seeds: int | Sequence[int] | None = None, **settings
) -> Iterator[Moment]:
    """The moments of `pipeline.stream`, with one before the first step. Arguments and errors as of `stream`."""
    steps = pipeline.stream(condition, seeds, **settings)
    first = next(steps)
    nothing = Codes(torch.zeros_like(first.codes.digits), first.codes.radix), torch.zeros_like(first.known)
    if pipeline.family == "denoising":  # its entropy now is that of the next step's draw
        before = nothing
        for step in chain([first], steps):
            yield _seen(pipeline, *before, step.entropy)
            before = step.codes, step.known
        yield _seen(pipeline, *before, torch.zeros_like(step.entropy))
        return
    for codes, known in chain([nothing], ((step.codes, step.known) for step in chain([first], steps))):
        conditions, _ = pairs(condition, list(range(len(codes))))
        yield _seen(pipeline, codes, known, pipeline.entropy(codes, known, conditions))


def _seen(pipeline: TwoStagePipeline, codes: Codes, known: Tensor, entropy: Tensor) -> Moment:
    return Moment(known.cpu(), codes.digits.cpu(), pipeline.decode(codes, "pt"), entropy.cpu())


def order_of(seen: list[Moment]) -> Tensor:
    """The step, from 1, in which each place took its final code, (b, *grid)."""
    order, end = torch.ones_like(seen[0].known, dtype=torch.long), seen[-1].digits
    for i, moment in enumerate(seen):
        settled = moment.known & (moment.digits == end).all(-1)
        order = torch.where(settled, order, i + 1)
    return order


def flipped(pipeline: TwoStagePipeline, images: Tensor, bit: int) -> Tensor:
    """Images (n, C, H, W) decoded with one bit of every place inverted. ValueError for a bit outside the code."""
    codes = _encoded(pipeline, images, bit)
    codes.digits[..., bit] ^= 1
    return pipeline.decode(codes, "pt")


def meaning(pipeline: TwoStagePipeline, images: Tensor, bit: int) -> Tensor:
    """The effect of a bit of the middle place, (C, H, W) in [-1, 1]: mean over images of the difference between decoding it as 1 and as
    0.
    """
    codes = _encoded(pipeline, images, bit)
    row, column = (side // 2 for side in codes.grid)
    ways = []
    for value in (1, 0):
        digits = codes.digits.clone()
        digits[:, row, column, bit] = value
        ways.append(pipeline.decode(Codes(digits, codes.radix), "pt"))
    return (ways[0] - ways[1]).mean(0)


def _encoded(pipeline: TwoStagePipeline, images: Tensor, bit: int) -> Codes:
    if set(pipeline.radix) != {2} or not 0 <= bit < len(pipeline.radix):
        raise ValueError(f"bit: got {bit}; this pipeline has bits 0 to {len(pipeline.radix) - 1} in every place")
    return pipeline.encode(images)
