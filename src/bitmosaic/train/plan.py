"""The cost of a run before it begins: for each stage that trains, counted in a rehearsed step of its game.

Counted are the bytes alive in a step, and the floating-point operations of forward and backward passes; nothing of a run's size is
allocated. `held` adds the measured overhead of the allocator and the framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bitmosaic.train.cost import Cost, cost
from bitmosaic.train.game import Game
from bitmosaic.train.run import Run, Stage

FRAMEWORK = 2e9  # bytes on a GPU for the framework itself: 1 to 2 GB
SLACK = 1.025  # of an allocator: a step of BiGR-L held 0.5 to 2.6 % more than was planned, on an H100 (docs/performance.md)


def held(planned: float) -> float:
    """Bytes of a GPU that a process takes where so many are planned."""
    return SLACK * planned + FRAMEWORK


def costs(run: Run, device: str = "cuda") -> Iterator[Cost]:
    """Of each stage that trains, in order, with the arithmetic of `device`."""
    for i, stage in enumerate(run.stages):
        if stage.training is not None:
            yield cost(stage.name, partial(_game, run.stages[: i + 1]), partial(stage.batch, run), stage.training, device)


def _game(stages: Sequence[Stage]) -> Game:
    """The last one's, with what those before it make."""
    made: dict[str, Any] = {}
    for stage in stages[:-1]:
        made |= stage.unmade()
    return stages[-1].game(made)
