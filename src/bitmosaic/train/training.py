"""Training: how long and how fast one game is played; a frozen description with one comment per field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bitmosaic.nets.precision import Precision
from bitmosaic.spec import Spec

HIGHEST = 1e30  # learning rate: Adam's first steps are many times as long, which a float32 has to hold


@dataclass(frozen=True)
class Training(Spec):
    """Everything the loop needs to know besides the game and its data."""

    steps: int = 10  # optimizer steps of each player
    batch_size: int = 4  # images a step
    parts: int = 1  # that a step's batch is cut into, each with its own draws: one after another, or shared by processes
    learning_rate: float = 1e-3  # after warm-up
    warmup_steps: int = 0  # linear, for every parameter group
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after warm-up; cosine ends at 1 % of it
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    weight_decay: float = 0.0  # on the parameters that a game's groups mark for decay
    clip_norm: float = 1.0  # the most that a player's gradient norm may be; 0: no clipping
    ema_decay: float = 0.999  # of the averaged weights, which are what is kept in the end
    sharded: bool = False  # of a prior: weights, gradients, moments and averages are shared out over the processes (FSDP2)
    recompute: bool = False  # of a prior: blocks are worked out again in the backward pass, which takes less memory and more time
    ema_every: int = 1  # steps between two updates of the average
    precision: Precision = "float32"  # of matrix products and convolutions; auto: bf16 where the machine has products of it
    compile: bool = False  # torch.compile on the networks
    seed: int = 0  # of weights, order, and every draw
    log_every: int = 10  # steps between two lines of metrics.jsonl
    pictures_every: int = 1000  # steps between two picture grids
    checkpoint_seconds: float = 120.0  # between two checkpoints
    keep: int = 2  # checkpoints that stay on disk

    def __post_init__(self):
        for name in ("steps", "batch_size", "parts", "ema_every", "log_every", "pictures_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; must be at least 1")
        if self.batch_size % self.parts:
            raise ValueError(f"parts: got {self.parts}; a batch of {self.batch_size} cannot be cut into as many equal parts")
        if not all(0 <= b < 1 for b in self.betas) or not self.weight_decay >= 0:
            raise ValueError(f"betas {self.betas} must be in [0, 1), weight_decay {self.weight_decay} not negative")
        if not 0 < self.learning_rate <= HIGHEST or not 0 <= self.ema_decay < 1 or self.warmup_steps < 0 or not self.clip_norm >= 0:
            raise ValueError(f"learning_rate must be in (0, {HIGHEST:g}], ema_decay in [0, 1), warmup_steps and clip_norm not negative")

    @property
    def part_size(self) -> int:
        """Images of a part."""
        return self.batch_size // self.parts

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, a function of the step alone so that a resumed run needs no scheduler state."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
