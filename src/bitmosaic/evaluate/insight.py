"""What goes on inside, as numbers that can be drawn: how unsure a prior is while it reveals, in which order it does, what a bit means."""

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
class Seen:
    """One moment of a reveal, of images with seeds of their own."""

    known: Tensor  # (b, *grid) bool
    digits: Tensor  # (b, *grid, k), 0 at places that are not known
    images: Tensor  # (b, C, H, W) in [0, 1], what the codes known so far decode to
    entropy: Tensor  # (b, *grid) in [0, 1], mean bits a bit of the places that are not settled, 0 elsewhere


def reveal(pipeline: TwoStagePipeline, condition: Condition = None, seeds: int | Sequence[int] | None = None, **settings) -> Iterator[Seen]:
    """The moments of `pipeline.stream`, the one before the first step too. Arguments and errors as there."""
    steps = pipeline.stream(condition, seeds, **settings)
    first = next(steps)
    nothing = Codes(torch.zeros_like(first.codes.digits), first.codes.radix), torch.zeros_like(first.known)
    if pipeline.family == "denoising":  # it is as unsure at a moment as the next step's draw
        before = nothing
        for step in chain([first], steps):
            yield _seen(pipeline, *before, step.entropy)
            before = step.codes, step.known
        yield _seen(pipeline, *before, torch.zeros_like(step.entropy))
        return
    for codes, known in chain([nothing], ((step.codes, step.known) for step in chain([first], steps))):
        conditions, _ = pairs(condition, list(range(len(codes))))
        yield _seen(pipeline, codes, known, pipeline.entropy(codes, known, conditions))


def _seen(pipeline: TwoStagePipeline, codes: Codes, known: Tensor, entropy: Tensor) -> Seen:
    return Seen(known.cpu(), codes.digits.cpu(), pipeline.decode(codes, "pt"), entropy.cpu())


def order_of(seen: list[Seen]) -> Tensor:
    """The step, 1 to the last, in which each place took the code that it has at the end, (b, *grid)."""
    order, end = torch.ones_like(seen[0].known, dtype=torch.long), seen[-1].digits
    for i, moment in enumerate(seen):
        settled = moment.known & (moment.digits == end).all(-1)
        order = torch.where(settled, order, i + 1)
    return order


def flipped(pipeline: TwoStagePipeline, images: Tensor, bit: int) -> Tensor:
    """Images (n, C, H, W) decoded with one bit of every place turned round. ValueError for a bit that there is not."""
    codes = _encoded(pipeline, images, bit)
    codes.digits[..., bit] ^= 1
    return pipeline.decode(codes, "pt")


def meaning(pipeline: TwoStagePipeline, images: Tensor, bit: int) -> Tensor:
    """What a bit of the middle place does, (C, H, W) in [-1, 1]: the mean over images of decoding it as 1 less decoding it as 0."""
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
