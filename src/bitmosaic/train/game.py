"""Games and players: what the loop trains. A prior is a game of one player, a VQGAN or a GAN of two.

A game's `play` is a generator of turns, each with a player and the loss that it minimises, so that what one turn has computed, such as a
reconstruction, can be used in the next.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Turn:
    """One player's move: `loss` is minimised over its parameters, `metrics` are logged."""

    player: str
    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """Something to be told after a step, once: a line of events.jsonl, and words."""

    event: str  # its name
    text: str  # a sentence, without the name of the stage
    epoch: int  # of which it is; another epoch's is told again
    values: dict[str, float] = field(default_factory=dict)  # beside its name in events.jsonl


class Game(abc.ABC):
    """Players by name, and the order in which they move on one batch.

    memory: state that is not trained, as buffers, such as a replay buffer or the probability of an augmentation. It is saved and resumed,
    and restored where a move is left out; the parts of a batch each start from the same state, and their mean is kept. whole_batches: such
    a mean is not meaningful, so batches cannot be cut. late_memory: older checkpoints may lack the memory, which then begins anew. period:
    steps after which the sequence of turns repeats. blocks: modules of its one player that can be sharded, or recomputed in the backward
    pass, one by one.
    """

    players: dict[str, nn.Module]
    memory: nn.Module | None = None
    whole_batches: bool = False
    late_memory: bool = False
    period: int = 1
    blocks: Sequence[nn.Module] = ()

    def modules(self) -> dict[str, nn.Module]:
        """The players, and the memory where there is one."""
        return self.players if self.memory is None else {**self.players, "memory": self.memory}

    @abc.abstractmethod
    def play(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """The turns of one step. Every draw comes from `rng`."""

    def notice(self) -> Notice | None:
        """What is worth telling of the training so far, such as a collapse; None where there is nothing."""
        return None

    def groups(self, player: str) -> list[dict[str, Any]]:
        """Parameter groups of a player's optimizer; `decay` says whether weight decay acts, `rate` (default 1)
        multiplies the learning rate."""
        return [{"params": list(self.players[player].parameters()), "decay": True}]

    def recompute(self) -> None:
        """Activation checkpointing of every block."""
        for block in self.blocks:
            block.recompute = True

    def compile(self) -> None:
        """torch.compile of every player's own forward pass, in place."""
        for player in self.players.values():
            player.compile()


@contextmanager
def frozen(module: nn.Module):
    """Gradients pass through `module` but none is computed for its parameters."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)
