"""The guidance scale of each round (A6 in docs/performance.md): constant, or rising as in MDTv2 (arXiv 2303.14389)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from bitmosaic.conditions import Condition, Encoded
from bitmosaic.nets.schedules import power_cosine
from bitmosaic.samplers.base import PriorLike

GuidanceSchedule = Literal["constant", "power-cosine"]


def scale_of_round(schedule: GuidanceSchedule, scale: float, power: float, unguided: float, done: float) -> float:
    """The guidance scale of the round after which the share `done`, in (0, 1], of the rounds is over; 1, no guidance, up to `unguided`."""
    if done <= unguided:
        return 1.0
    if schedule == "constant":
        return scale
    return power_cosine(scale, done, power)


class Branches:
    """The encoded conditions of both guidance branches, encoded once for all rounds."""

    def __init__(self, prior: PriorLike, condition: Condition | Tensor | None, batch: int):
        self.given = prior.embed(condition, batch)
        self.null = None if condition is None else prior.embed(None, batch)

    def __call__(self, scale: float) -> Encoded:
        """The conditions of b images, or, where `scale` needs both branches, these and then the null, 2 b (E7 in docs/performance.md)."""
        if self.null is None or scale == 1:
            return self.given
        return self.null if scale == 0 else Encoded.joined([self.given, self.null])
