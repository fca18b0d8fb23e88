"""Masks that leave places partly known: what the model is shown of these, and how their known pixels steer what it draws.

A place is hidden as a whole, so its known pixels would be lost: few where a mask is a hole, but most where it is lines, letters or
scattered pixels. There a place with enough known pixels is encoded from their smooth continuation, and then every partly known place is
redrawn several times given all others, each draw accepted by the Metropolis rule with the likelihood of the known pixels. So answers are
draws from the prior that agree with the known pixels (measured in docs/editing.md).
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

THICK = 3 / 8  # of a place's side: a part of a mask is thin where no square that reaches so far from its middle pixel fits
THIN = 0.5  # share of a place that thin parts of a mask may cover for the rest of it to be shown
SCATTERED = 0.875  # this share where known pixels are scattered
SWEEPS = 4  # times that each place is redrawn
NOISE = 0.1  # standard deviation of known pixels in [0, 1] around the decoded ones


@dataclass(frozen=True)
class KnownPlaces:
    """How the places of one window are known under a mask, each (h, w) bool."""

    whole: Tensor  # none of the place's pixels are repainted: its code stays
    shown: Tensor  # whole, or a smooth continuation of its known pixels is shown
    steered: Tensor  # it is redrawn so that its known pixels, and those around it, agree


def known_of(repaint: Tensor, factor: int) -> KnownPlaces:
    """From a mask (H, W) bool, over places of factor x factor pixels.

    Unless the mask consists of whole places, steered are the places that only its thin parts touch, and those where known pixels are
    scattered or no place is whole, with their neighbours. Other partly known places lie at the edge of a hole and are hidden.
    """
    share = F.avg_pool2d(repaint[None].float(), factor)[0]
    whole, some = share == 0, (share > 0) & (share < 1)
    if not some.any():
        return KnownPlaces(whole, whole, some)
    lines = (share > 0) & ~places_of(_opened(repaint, factor), factor)
    thick = 2 * F.avg_pool2d(_opened(~repaint, factor)[None].float(), factor)[0] >= 1 - share  # most of its known pixels
    lost = some & ~(thick & whole.any())
    near = F.max_pool2d(lost[None].float(), 3, 1, 1)[0].bool() & ~whole
    return KnownPlaces(whole, whole | lines & (share <= THIN) | near & ~thick & (share <= SCATTERED), lines | near)


def _opened(part: Tensor, factor: int) -> Tensor:
    """Morphological opening of a region (H, W) bool by a square; the region goes on beyond the picture's edge."""
    reach = max(1, int(THICK * factor))
    eroded = -F.max_pool2d(-part[None].float(), 2 * reach + 1, 1, reach)
    return F.max_pool2d(eroded, 2 * reach + 1, 1, reach)[0] > 0


def steer(
    pipeline: TwoStagePipeline, codes: Codes, pixels: Tensor, repaint: Tensor, steered: Tensor, draw: Callable[[Codes, Tensor], Codes],
    generators: list[torch.Generator], sweeps: int, tell: Callable[[int, Codes], None],
) -> tuple[Codes, Tensor]:  # fmt: skip
    """Codes that agree better with the known pixels of `pixels` (n, C, H, W), and the remaining misfit at places `steered` (h, w), bits
    (n,).

    draw(codes, given) fills the places that are not given in one round; tell(sweep, codes) is called after each of `sweeps` sweeps.
    """
    if not steered.any():
        return codes, torch.zeros(len(pixels))
    factor, odds = pipeline.factor, 1 / (2 * NOISE**2)

    def misfit(made: Codes) -> Tensor:
        """Negative log likelihood of the known pixels of each place, (n, h, w), in nats."""
        seen = (255 * pipeline.decode(made, "pt")).round() / 255  # rounded to 8 bits, since last digits depend on the batch
        wrong = (seen - pixels).square().mean(1, keepdim=True) * ~repaint
        return odds * factor**2 * F.avg_pool2d(wrong, factor)[:, 0]

    def around(values: Tensor) -> Tensor:
        """Sums over each place and its neighbours, in which it shows too."""
        return 9 * F.avg_pool2d(values[:, None], 3, 1, 1)[:, 0]

    now = misfit(codes)
    for sweep in range(1, sweeps + 1):
        for row, column in ((0, 0), (1, 1), (0, 1), (1, 0)):  # so that no two neighbours are redrawn together
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


def told(known: KnownPlaces, factor: int, steered: bool) -> str:
    """One line on what was done; empty where only whole places were hidden. steered: whether places were redrawn."""
    count = int(known.steered.sum())
    if not count:
        return ""
    how = "draws are kept, and answers ranked," if steered else "answers are ranked"
    return (
        f"mask: {int(known.whole.sum())} of {known.whole.numel()} places of {factor} x {factor} pixels are known whole; in {count}, where "
        f"it is thin or known pixels are scattered, {how} by how well they agree with the known pixels"
    )
