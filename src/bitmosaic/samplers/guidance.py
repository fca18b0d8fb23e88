"""How strong guidance is in each round (A6): constant, or rising as in MDTv2 (arXiv 2303.14389) and the masked models before it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from bitmosaic.samplers.base import PriorLike

GuidanceSchedule = Literal["constant", "power-cosine"]


def scale_of_round(schedule: GuidanceSchedule, scale: float, power: float, unguided: float, done: float) -> float:
    """The guidance scale of the round that ends when the share `done`, in (0, 1], of the rounds is over.

    Below `unguided` it is 1, so that one branch suffices. power-cosine: 1 + (scale - 1) (1 - cos(pi done^power)) / 2.
    """
    if done <= unguided:
        return 1.0
    if schedule == "constant":
        return scale
    return 1 + (scale - 1) * (1 - math.cos(math.pi * done**power)) / 2


class Branches:
    """The condition vectors that a round needs, embedded once for all rounds."""

    def __init__(self, prior: PriorLike, labels: Tensor | None, batch: int):
        self.given = prior.embed(labels, batch)
        self.null = None if labels is None else prior.embed(None, batch)

    def __call__(self, scale: float) -> Tensor:
        """(b, D), or class then null (2 b, D) where `scale` weighs both (E7)."""
        if self.null is None or scale == 1:
            return self.given
        return self.null if scale == 0 else torch.cat([self.given, self.null])
