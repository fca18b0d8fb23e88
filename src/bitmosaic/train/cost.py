"""What a step of training takes: parameters, floating-point operations, bytes that live in it; from which plans are made.

`measured` reads a real step of any game on a CPU, by torch's own counters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bitmosaic.nets.precision import autocast, resolve
from bitmosaic.train.game import Game
from bitmosaic.train.rehearsal import Live
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
    block: int  # parameters of one block, 0 where there are none
    rest: int  # parameters outside blocks
    flop: float  # forward and backward, an image
    flop_again: float  # where blocks are worked out again
    read: int  # bytes from disk, an image
    step: Callable[[int, bool, bool, bool], int]  # bytes that live in a step beside STATE: of images, sharded, recompute, with gradients

    def memory(self, gpus: int, sharded: bool, recompute: bool) -> float:
        """The most bytes on each of `gpus`: at the height of the backward pass, or while the optimizer moves."""
        training = self.training
        images, waits = math.ceil(training.batch_size / max(gpus, training.parts)), training.parts > gpus
        alone = not sharded and not waits  # gradients come as activations go, and are counted with them
        activations = self.step(images, sharded, recompute, alone)
        shares = gpus if sharded else 1
        gradients = GRADIENT * self.parameters
        root = gradients if self.device != "cpu" else 0  # of Adam's second moments, of all weights at once
        at_once = activations + (gradients if waits else 0)  # those of an earlier part wait, whole
        if sharded:
            width = 2 if resolve(training.precision, self.device) == "bf16" else 4
            at_once += (width + GRADIENT) * (2 * self.block + self.rest)  # two blocks and the rest are whole for a while
        buckets = gradients if gpus > 1 and not sharded else 0  # gradients once more
        return STATE * self.parameters / shares + buckets + max(at_once, (gradients + root) / shares)


def count(*modules: nn.Module) -> int:
    """Parameters of modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def operations(modules: Iterable[nn.Module], forward: Callable[[], Tensor]) -> float:
    """Floating-point operations of `forward` and its backward pass; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        forward().float().sum().backward()
    for module in modules:
        module.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def measured(name: str, game: Game, batch: Callable[[int], Any], training: TrainingSpec, device: str, read: int) -> Cost:
    """Of a game of which nothing is known: its own turns are played on `batch(images)` on a CPU, of two and of four images.

    Bytes are counted as tensors come and go, and grow by as much for each further image. read: bytes from disk, an image.
    """
    (two, flop), (four, _) = (_played(game, batch(images), training) for images in (2, 4))
    each, weights = (four - two) / 2, count(*game.players.values())

    def step(images: int, sharded: bool, recompute: bool, gradients: bool) -> int:
        return round(two + each * (images - 2)) - (0 if gradients else GRADIENT * weights)

    return Cost(name, training, device, weights, 0, weights, flop / 2, flop / 2, read, step)


def _played(game: Game, batch: Any, training: TrainingSpec) -> tuple[int, float]:
    """The most bytes that live in a step beside weights, and the operations of one, over all kinds of steps that the game has."""
    held = [t for module in game.modules().values() for t in (*module.parameters(), *module.buffers())]
    live, counter = Live(held), FlopCounterMode(display=False)
    for module in game.players.values():
        module.train()
    for step in range(game.period):
        with live, counter, autocast(training.precision, "cpu"):
            for turn in game.play(batch, step, torch.Generator().manual_seed(0)):
                turn.loss.backward()
                game.players[turn.player].zero_grad(set_to_none=True)
    return live.most, counter.get_total_flops() / game.period
