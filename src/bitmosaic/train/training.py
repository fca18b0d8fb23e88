"""Training: how long and how fast one game is played; frozen descriptions with one comment per field.

`Training` is for players that all learn alike; `AdversarialTraining` has settings for a generator and for its discriminator.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Literal

from bitmosaic.nets.precision import Precision
from bitmosaic.spec import Spec, later
from bitmosaic.train.averages import AverageSpec, EMASpec
from bitmosaic.train.optimizers import AdamSpec, AdamWSpec, OptimizerSpec, check_betas

HIGHEST = 1e30  # learning rate: Adam's first steps are many times longer, and must be finite in float32


@dataclass(frozen=True)
class Player(Spec):
    """How one player learns."""

    optimizer: OptimizerSpec = AdamWSpec()
    learning_rate: float = 1e-3  # after warm-up
    warmup_steps: int = 0  # linear, for every parameter group
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after warm-up; cosine ends at 1 % of it
    weight_decay: float = 0.0  # on the parameters that a game's groups mark for decay
    clip_norm: float = 1.0  # the most that the gradient's norm may be; 0: no clipping
    average: AverageSpec = EMASpec()  # of the weights, which is kept in the end

    def __post_init__(self):
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: got {self.weight_decay}; want a number, not negative")
        if not 0 < self.learning_rate <= HIGHEST or self.warmup_steps < 0 or not self.clip_norm >= 0:
            raise ValueError(f"learning_rate must be in (0, {HIGHEST:g}], warmup_steps and clip_norm not negative")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` of `steps`, a function of these alone so that a resumed run needs no scheduler state."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class TrainingSpec(Spec, abc.ABC, abstract=True):
    """All settings of the loop besides the game and its data."""

    steps: int = 10  # in each of which every player moves, or as the game says
    batch_size: int = 4  # images a step
    parts: int = 1  # that a step's batch is cut into, each with its own draws: one after another, or shared by processes
    sharded: bool = False  # of a prior: weights, gradients, moments and averages are shared out over the processes (FSDP2)
    recompute: bool = False  # of a prior: activation checkpointing of blocks, which takes less memory and more time
    precision: Precision = "float32"  # of matrix products and convolutions; auto: bf16 where the machine multiplies it
    compile: bool = False  # torch.compile on the networks
    seed: int = 0  # of weights, order, and every draw
    log_every: int = 10  # steps between two lines of metrics.jsonl
    pictures_every: int = 1000  # steps between two picture grids
    checkpoint_seconds: float = 120.0  # between two checkpoints
    keep: int = 2  # checkpoints that stay on disk

    def __post_init__(self):
        for name in ("steps", "batch_size", "parts", "log_every", "pictures_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; must be at least 1")
        if self.batch_size % self.parts:
            raise ValueError(f"parts: got {self.parts}; a batch of {self.batch_size} cannot be cut into as many equal parts")

    @abc.abstractmethod
    def player(self, name: str) -> Player:
        """The settings of a player of the game."""

    @abc.abstractmethod
    def players(self) -> tuple[Player, ...]:
        """The different settings of players."""

    @property
    def part_size(self) -> int:
        """Images of a part."""
        return self.batch_size // self.parts


@dataclass(frozen=True)
class Training(TrainingSpec):
    """All players learn alike, with an exponential moving average of their weights."""

    learning_rate: float = 1e-3  # after warm-up
    warmup_steps: int = 0  # linear, for every parameter group
    decay: Literal["constant", "cosine"] = "constant"  # of the learning rate after warm-up; cosine ends at 1 % of it
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    optimizer: OptimizerSpec | None = later(None, lambda _: None)  # None: AdamW with these betas
    weight_decay: float = 0.0  # on the parameters that a game's groups mark for decay
    clip_norm: float = 1.0  # the most that a player's gradient norm may be; 0: no clipping
    ema_decay: float = 0.999  # of the averaged weights, which are what is kept in the end
    ema_every: int = 1  # steps between two updates of the average

    def __post_init__(self):
        super().__post_init__()
        check_betas(self.betas)
        if not 0 <= self.ema_decay < 1 or self.ema_every < 1:
            raise ValueError(f"ema_decay: got {self.ema_decay}, want [0, 1); ema_every: got {self.ema_every}, must be at least 1")
        self.player("")

    def player(self, name: str) -> Player:
        """The same for all."""
        return Player(
            self.optimizer or AdamWSpec(self.betas), self.learning_rate, self.warmup_steps, self.decay, self.weight_decay, self.clip_norm,
            EMASpec(self.ema_decay, self.ema_every),
        )  # fmt: skip

    def players(self) -> tuple[Player, ...]:
        return (self.player(""),)

    def rate(self, step: int) -> float:
        """The learning rate of step `step`."""
        return self.player("").rate(step, self.steps)


@dataclass(frozen=True)
class AdversarialTraining(TrainingSpec):
    """Separate settings of a generator and a discriminator."""

    generator: Player = Player(AdamSpec(), 2e-4, clip_norm=0.0, average=EMASpec(ramp=0.05))
    discriminator: Player = Player(AdamSpec(), 2e-4, clip_norm=0.0)  # every other player

    def player(self, name: str) -> Player:
        """The generator's, or that of any other."""
        return self.generator if name == "generator" else self.discriminator

    def players(self) -> tuple[Player, ...]:
        return self.generator, self.discriminator
