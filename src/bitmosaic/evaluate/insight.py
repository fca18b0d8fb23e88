"""What goes on inside, as numbers that can be drawn: how unsure a prior is while it reveals, in which order it does, what a bit means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.pipelines import Condition, TwoStagePipeline
from bitmosaic.pipelines.conditions import pairs


@dataclass(frozen=True)
class Seen:
    """One moment of a reveal, of images with seeds of their own."""

    known: Tensor  # (b, *grid) bool
    images: Tensor  # (b, C, H, W) in [0, 1], what the codes known so far decode to
    entropy: Tensor  # (b, *grid) in [0, 1], mean bits a bit of the places that are hidden, 0 elsewhere


def reveal(pipeline: TwoStagePipeline, condition: Condition = None, seeds: int | Sequence[int] | None = None, **settings) -> Iterator[Seen]:
    """The moments of `pipeline.stream`, the one before the first step too. Arguments and errors as there."""
    for step in pipeline.stream(condition, seeds, **settings):
        if step.index == 1:
            nothing, codes = torch.zeros_like(step.known), Codes(torch.zeros_like(step.codes.digits), step.codes.radix)
            yield _seen(pipeline, codes, nothing, condition)
        yield _seen(pipeline, step.codes, step.known, condition)


def _seen(pipeline: TwoStagePipeline, codes: Codes, known: Tensor, condition: Condition) -> Seen:
    conditions, _ = pairs(condition, list(range(len(codes))))
    return Seen(known.cpu(), pipeline.decode(codes, "pt"), pipeline.entropy(codes, known, conditions))


def order_of(seen: list[Seen]) -> Tensor:
    """The step, 1 to the last, in which each place became known, (b, *grid)."""
    return 1 + sum((~moment.known).long() for moment in seen[1:])


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
