"""The cost of a training step, counted by its rehearsal: parameters, operations, bytes; and from these, a GPU's memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.nets.precision import resolve
from bitmosaic.train.game import Game
from bitmosaic.train.rehearsal import StepCost, rehearse, unweighted
from bitmosaic.train.training import TrainingSpec

STATE = 16  # bytes of a parameter: float32 weight, two moments of Adam, average; all of it is in a checkpoint
GRADIENT = 4


@dataclass(frozen=True)
class Cost:
    """Of one stage; bytes, and floating-point operations."""

    name: str
    training: TrainingSpec
    device: str  # whose arithmetic: "cuda", or "cpu"
    parameters: int
    block: int  # parameters of the largest block that is sharded or recomputed by itself, 0 where there are none
    rest: int  # parameters outside blocks
    read: int  # bytes from disk, an image
    step: Callable[[int, bool, bool], StepCost]  # of (images, whether weights are sharded, whether blocks are recomputed)

    def images(self, gpus: int) -> int:
        """Images that a GPU processes at once."""
        return math.ceil(self.training.batch_size / max(gpus, self.training.parts))

    def flop(self, gpus: int = 1, recompute: bool = False) -> float:
        """Floating-point operations of the forward and backward pass of one image."""
        images = self.images(gpus)
        return self.step(images, False, recompute).flop / images

    def memory(self, gpus: int, sharded: bool, recompute: bool) -> float:
        """Peak bytes on each of `gpus`: in the backward pass, or in the optimizer's step."""
        training, waits = self.training, self.training.parts > gpus
        step = self.step(self.images(gpus), sharded, recompute)
        shares = gpus if sharded else 1
        gradients = GRADIENT * self.parameters
        root = gradients if self.device != "cpu" else 0  # of Adam's second moments, of all weights at once
        at_once = step.bytes if sharded or waits else step.with_gradients
        if waits:  # those of an earlier part, whole
            at_once += gradients
        if sharded:
            width = 2 if resolve(training.precision, self.device) == "bf16" else 4
            at_once += (width + GRADIENT) * (2 * self.block + self.rest)  # two blocks and the rest are whole for a while
        buckets = gradients if gpus > 1 and not sharded else 0  # gradients once more
        return STATE * self.parameters / shares + buckets + max(at_once, (gradients + root) / shares)


def cost(name: str, build: Callable[[], Game], batch: Callable[[int], Any], training: TrainingSpec, device: str) -> Cost:
    """Of a game: what `build` makes plays its own turns on batches of so many images, whose content does not matter."""

    @functools.cache
    def step(images: int, sharded: bool, recompute: bool) -> StepCost:
        return rehearse(build, lambda: batch(images), training, device, sharded, recompute)

    game, _ = unweighted(build)
    every, blocks = parameters_of(*game.players.values()), [parameters_of(block) for block in game.blocks]
    return Cost(name, training, device, every, max(blocks, default=0), every - sum(blocks), stored(batch(1)), step)


def stored(batch: Any) -> int:
    """Bytes on disk of a batch's signals, or of its codes."""
    found = [getattr(batch, field.name) for field in fields(batch)]
    codes, signals = [x for x in found if isinstance(x, Codes)], [x for x in found if isinstance(x, Tensor) and x.ndim > 1]
    return sum(x.pack().nbytes for x in codes) + sum(x.nbytes for x in signals)
