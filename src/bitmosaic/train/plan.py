"""What a run will cost before it begins: of each of its stages that trains, as that counts it. Nothing of a run's size is allocated.

Counted, not guessed: the bytes that live in a step, and floating-point operations of forward and backward passes (torch's
FlopCounterMode; a multiply-add is two). `held` adds what was measured to come on top: of an allocator, and of the framework's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from bitmosaic.train.cost import Cost
from bitmosaic.train.run import Run

FRAMEWORK = 2e9  # bytes on a GPU for the framework itself: 1 to 2 GB
SLACK = 1.025  # of an allocator: a step of BiGR-L held 0.5 to 2.6 % more than was planned, on an H100 (docs/performance.md)


def held(planned: float) -> float:
    """Bytes of a GPU that a process takes which plans with so many."""
    return SLACK * planned + FRAMEWORK


def costs(run: Run, device: str = "cuda") -> Iterator[Cost]:
    """Of each stage that trains, in order, with the arithmetic of `device`."""
    for stage in run.stages:
        yield from stage.costs(run, device)
