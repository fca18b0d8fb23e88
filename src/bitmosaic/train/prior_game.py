"""The game of a prior, which has one player and minimises the prior's own loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from bitmosaic.priors import HeadedPrior
from bitmosaic.train.game import Game, Turn


class PriorGame(Game):
    """One player, "prior"; conditions are replaced by the null with probability `class_dropout`, for classifier-free guidance."""

    def __init__(self, prior: nn.Module, class_dropout: float = 0.1):
        self.players, self.class_dropout, self.blocks = {"prior": prior}, class_dropout, prior.blocks

    def play(self, batch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        prior, labels = self.players["prior"], None if batch.labels is None else batch.labels.to(rng.device)
        condition = prior.condition.of_data(labels, batch.captions)
        loss = prior.loss(batch.codes.to(rng.device), condition, rng, self.class_dropout)
        yield Turn("prior", loss, {"loss": loss.detach()})

    def groups(self, player: str) -> list[dict[str, Any]]:
        """Weight decay acts on matrices of the backbone: not on vectors, biases, nor the head (BiGR's setting)."""
        decay, plain = [], []
        for name, p in self.players[player].named_parameters():
            (decay if p.ndim > 1 and not name.startswith("head.") else plain).append(p)
        return [{"params": decay, "decay": True}, {"params": plain, "decay": False}]

    def compile(self) -> None:
        """torch.compile of each block (their shapes are fixed) and of a head's network (hidden places vary in number)."""
        prior = self.players["prior"]
        for block in prior.blocks:
            block.compile(dynamic=False)
        if isinstance(prior, HeadedPrior):
            prior.head.net.compile(dynamic=True)
