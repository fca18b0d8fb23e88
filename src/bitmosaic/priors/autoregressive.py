"""An autoregressive prior: places in raster order, each given all before it (LlamaGen, arXiv 2406.06525).

It is S0 and S2 of BiGR (arXiv 2410.14672): S0 has a categorical head, S2 draws the bits of a place by Bernoulli diffusion. We differ in
blocks modulated by the class, as BiGR's masked prior has them, and in taking a place's code as bits with every head, so that only order
and head differ from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.nets.llama import Block, Past, RMSNorm, attend_causal
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.base import Prior, PriorSpec, start


@dataclass(frozen=True)
class AutoregressivePriorSpec(PriorSpec):
    """Sizes of an autoregressive prior over binary codes."""

    def build(self) -> AutoregressivePrior:
        return AutoregressivePrior(self)


class AutoregressivePrior(Prior):
    """p(codes of a place | codes of all places before it, condition)."""

    raster = True

    def __init__(self, spec: AutoregressivePriorSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, (2,) * spec.bits
        self.condition = spec.condition.build(spec.width)
        self.from_bits = nn.Linear(spec.bits, spec.width)
        self.modulation = nn.Linear(spec.width, 6 * spec.width)  # one for all blocks
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads) for _ in range(spec.depth))
        self.norm = RMSNorm(spec.width)
        self.positions = nn.Parameter(torch.randn(math.prod(spec.grid), spec.width) * 0.02)  # of the place that is asked for
        self.head = spec.head.build(spec.bits, spec.width)
        self.apply(start)

    def _streams(self, x: Tensor, vectors: Tensor, first: int = 0, pasts: list[Past] | None = None) -> Iterator[Tensor]:
        """The stream after each block of tokens x (b, n, D), the class and then places, of which x holds those from `first` on."""
        modulation = self.modulation(nn.functional.silu(vectors)).view(len(vectors), 6, -1)
        table = rotary_table(self.grid, x.shape[-1] // self.spec.heads, x.device)[first : first + x.shape[1]]
        for block, sees in zip(self.blocks, pasts or [attend_causal] * len(self.blocks), strict=True):
            x = block(x, modulation, table, None, sees)
            yield x

    def _tokens(self, digits: Tensor, known: Tensor, vectors: Tensor) -> Tensor:
        """(b, 1 + n, D): the class, and n places; zeros where a place is hidden."""
        x = self.from_bits(digits.to(self.from_bits.weight.dtype)) * known[..., None]
        return torch.cat([vectors[:, None].to(x.dtype), x], 1)

    def whole(self, digits: Tensor, vectors: Tensor) -> Iterator[Tensor]:
        return self._streams(self._tokens(digits, torch.ones_like(digits[..., 0], dtype=torch.bool), vectors), vectors)

    def context(self, digits: Tensor, known: Tensor, vectors: Tensor) -> Tensor:
        """As `Prior.context`. Of a place with a hidden one before it this says little: such places were never trained on."""
        *_, x = self._streams(self._tokens(digits[:, :-1], known[:, :-1], vectors), vectors)
        return self.norm(x) + self.positions

    def in_order(self, vectors: Tensor) -> InOrder:
        """The contexts of one place after another, with the keys and values of those before kept."""
        return InOrder(self, vectors)

    def loss(self, codes: Codes, labels: Tensor | None, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """The head's loss on every place, given those before it."""
        self.check(codes)
        digits = codes.flat()
        vectors = self.embed(self.condition.drop(labels, class_dropout, rng), len(digits))
        context = self.context(digits, torch.ones_like(digits[..., 0], dtype=torch.bool), vectors)
        return self.head.loss(digits.flatten(0, 1), context.flatten(0, 1), rng)


class InOrder:
    """Contexts in raster order, each from one token instead of all before it."""

    def __init__(self, prior: AutoregressivePrior, vectors: Tensor):
        self.prior, self.vectors, self.at = prior, vectors, 0
        self.pasts = [Past() for _ in prior.blocks]

    def __call__(self, before: Tensor | None) -> Tensor:
        """The context (b, D) of the next place; before: bits (b, K) of the one before it, None for the first place."""
        prior = self.prior
        x = self.vectors if before is None else prior.from_bits(before.to(prior.from_bits.weight.dtype))
        *_, x = prior._streams(x[:, None].to(prior.from_bits.weight.dtype), self.vectors, self.at, self.pasts)
        self.at += 1
        return prior.norm(x)[:, 0] + prior.positions[self.at - 1]
