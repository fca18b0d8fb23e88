"""Causal priors: places in raster order, each given the condition and all before it (as in LlamaGen, arXiv 2406.06525)."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.nets.llama import Past, attend_causal
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.base import ConditionLike, HeadedPrior


class CausalPrior(HeadedPrior):
    """p(codes of a place | codes of all places before it, condition), by Llama's blocks; the condition is the first token."""

    family = "causal"

    @abc.abstractmethod
    def tokens(self, digits: Tensor, first: int) -> Tensor:
        """Input embeddings of the digits of places `first`, `first` + 1, ..., (b, n, K) -> (b, n, D)."""

    @abc.abstractmethod
    def modulation_of(self, vectors: Tensor) -> Tensor | None:
        """The blocks' modulation (b, 6, D) from condition vectors (b, D); None: blocks are not modulated."""

    @abc.abstractmethod
    def leave(self, x: Tensor, first: int) -> Tensor:
        """The head's condition for places `first`, `first` + 1, ... from the stream (b, n, D) at the tokens before them."""

    def streams(self, x: Tensor, vectors: Tensor, first: int = 0, pasts: list[Past] | None = None) -> Iterator[Tensor]:
        """The stream after each block, of tokens x (b, n, D) from number `first` on; token 0 is the condition, then come the places."""
        modulation = self.modulation_of(vectors)
        table = rotary_table(self.grid, x.shape[-1] // self.spec.heads, x.device)[first : first + x.shape[1]]
        for block, sees in zip(self.blocks, pasts or [attend_causal] * len(self.blocks), strict=True):
            x = block(x, modulation, table, None, sees)
            yield x

    def _entered(self, digits: Tensor, known: Tensor, vectors: Tensor) -> Tensor:
        """(b, 1 + n, D): the condition, and n places; zeros where a place is hidden."""
        x = self.tokens(digits, 0) * known[..., None]
        return torch.cat([vectors[:, None].to(x.dtype), x], 1)

    def whole(self, digits: Tensor, encoded: Encoded | Tensor) -> Iterator[Tensor]:
        vectors = Encoded.of(encoded).vector
        return self.streams(self._entered(digits, torch.ones_like(digits[..., 0], dtype=torch.bool), vectors), vectors)

    def context(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor) -> Tensor:
        """As `HeadedPrior.context`. At a place behind a hidden one it means little, since no such place occurs in training."""
        vectors = Encoded.of(encoded).vector
        *_, x = self.streams(self._entered(digits[:, :-1], known[:, :-1], vectors), vectors)
        return self.leave(x, 0)

    def in_order(self, encoded: Encoded | Tensor) -> InOrder:
        """The contexts of one place after another, with a KV cache."""
        return InOrder(self, Encoded.of(encoded).vector)

    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """The head's loss on every place, given those before it."""
        self.check(codes)
        digits = codes.flat()
        encoded = self.embed(self.condition.drop(condition, class_dropout, rng), len(digits))
        context = self.context(digits, torch.ones_like(digits[..., 0], dtype=torch.bool), encoded)
        return self.head.loss(digits.flatten(0, 1), context.flatten(0, 1), rng)


class InOrder:
    """Contexts in raster order by a KV cache: each call takes one token."""

    def __init__(self, prior: CausalPrior, vectors: Tensor):
        self.prior, self.vectors, self.at = prior, vectors, 0
        self.pasts = [Past() for _ in prior.blocks]

    def __call__(self, before: Tensor | None) -> Tensor:
        """The context (b, D) of the next place; before: digits (b, K) of the one before it, None for the first place."""
        x = self.vectors[:, None] if before is None else self.prior.tokens(before[:, None], self.at - 1)
        *_, x = self.prior.streams(x.to(self.prior.norm.weight.dtype), self.vectors, self.at, self.pasts)
        self.at += 1
        return self.prior.leave(x, self.at - 1)[:, 0]
