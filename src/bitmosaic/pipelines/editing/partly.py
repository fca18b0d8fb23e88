"""Masks that leave places known in part: what a model is shown of these, and how their known pixels steer what it draws.

A place is hidden as a whole, so what is known of it would be lost. That is little where a mask is a hole; where it is lines, letters
or scattered pixels, it is much or all there is. There a smooth continuation of the known pixels stands for a place that has enough of
them, and then every place that is known in part is drawn anew some times, each by itself given all others, and a draw is kept or not
by Metropolis' rule: so answers are draws from the prior that agree with the known pixels (measured in docs/editing.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.codes import Codes
from bitmosaic.images import places_of
from bitmosaic.pipelines.two_stage import TwoStagePipeline

THICK = 3 / 8  # of a place's side: how far squares reach from their middle pixel, in whole pixels, that fit into what is not thin
THIN = 0.5  # of a place that thin parts of a mask may cover, so that the rest of it is shown
SCATTERED = 0.875  # the same where known pixels are scattered
SWEEPS = 4  # times that each place is drawn anew
NOISE = 0.1  # standard deviation of known pixels, of [0, 1], around what is decoded


@dataclass(frozen=True)
class Known:
    """What a mask leaves of the places of one window, (h, w) bool all."""

    whole: Tensor  # none of the place's pixels are repainted: its code stays
    shown: Tensor  # whole, or a smooth continuation of its known pixels is shown
    steered: Tensor  # it is drawn anew by how well its known pixels, and those around it, agree


def known_of(repaint: Tensor, factor: int) -> Known:
    """Of a mask (H, W) bool over places of factor x factor pixels.

    Steered are, where a mask is no set of whole places, those that only thin parts of it touch, and those where known pixels are scattered
    or no place is whole at all, with their neighbours. What else is known in part is the edge of a hole, and hidden with it.
    """
    share = F.avg_pool2d(repaint[None].float(), factor)[0]
    whole, some = share == 0, (share > 0) & (share < 1)
    if not some.any():
        return Known(whole, whole, some)
    lines = (share > 0) & ~places_of(_opened(repaint, factor), factor)
    thick = 2 * F.avg_pool2d(_opened(~repaint, factor)[None].float(), factor)[0] >= 1 - share  # most of what is known of it
    lost = some & ~(thick & whole.any())
    near = F.max_pool2d(lost[None].float(), 3, 1, 1)[0].bool() & ~whole
    return Known(whole, whole | lines & (share <= THIN) | near & ~thick & (share <= SCATTERED), lines | near)


def _opened(part: Tensor, factor: int) -> Tensor:
    """Pixels of a part (H, W) bool of a picture that lie in a square of it; its edge is no end of the part."""
    reach = max(1, int(THICK * factor))
    eroded = -F.max_pool2d(-part[None].float(), 2 * reach + 1, 1, reach)
    return F.max_pool2d(eroded, 2 * reach + 1, 1, reach)[0] > 0


def steer(
    pipeline: TwoStagePipeline, codes: Codes, pixels: Tensor, repaint: Tensor, steered: Tensor, draw: Callable[[Codes, Tensor], Codes],
    generators: list[torch.Generator], sweeps: int, tell: Callable[[int, Codes], None],
) -> tuple[Codes, Tensor]:  # fmt: skip
    """Codes that agree better with the known ones of `pixels` (n, C, H, W), and bits (n,) that those in places `steered` (h, w) still cost.

    draw(codes, given) fills in one round the places that are not given; tell(sweep, codes) is called after each sweep, 0 of them: nothing
    is changed.
    """
    if not steered.any():
        return codes, torch.zeros(len(pixels))
    factor, odds = pipeline.factor, 1 / (2 * NOISE**2)

    def misfit(made: Codes) -> Tensor:
        """Of the known pixels of each place, (n, h, w), in nats."""
        seen = (255 * pipeline.decode(made, "pt")).round() / 255  # as in a picture: last digits differ between batches
        wrong = (seen - pixels).square().mean(1, keepdim=True) * ~repaint
        return odds * factor**2 * F.avg_pool2d(wrong, factor)[:, 0]

    def around(values: Tensor) -> Tensor:
        """Sums over each place and its neighbours, in which it shows too."""
        return 9 * F.avg_pool2d(values[:, None], 3, 1, 1)[:, 0]

    now = misfit(codes)
    for sweep in range(1, sweeps + 1):
        for row, column in ((0, 0), (1, 1), (0, 1), (1, 0)):  # so that no two neighbours are drawn at once
            asked = torch.zeros_like(steered)
            asked[row::2, column::2] = steered[row::2, column::2]
            if not asked.any():
                continue
            drawn = draw(codes, ~asked)
            luck = torch.stack([torch.rand(asked.shape, generator=rng, device=rng.device).cpu() for rng in generators])
            kept = asked & (luck.log() < around(now) - around(misfit(drawn)))
            codes = Codes(torch.where(kept[..., None].to(codes.digits.device), drawn.digits, codes.digits), codes.radix)
            now = misfit(codes)
        tell(sweep, codes)
    return codes, (now * steered).sum((1, 2)) / math.log(2)


def told(known: Known, factor: int, steered: bool) -> str:
    """One line on what was done; empty where nothing but whole places were hidden. steered: whether places were drawn anew."""
    count = int(known.steered.sum())
    if not count:
        return ""
    how = "draws are kept, and answers ranked," if steered else "answers are ranked"
    return (
        f"mask: {int(known.whole.sum())} of {known.whole.numel()} places of {factor} x {factor} pixels are known whole; in {count}, where "
        f"it is thin or known pixels are scattered, {how} by how well they agree with the known pixels"
    )
