"""BiGR's prior: a bidirectional Llama over codes fills in hidden places (Hao et al., arXiv 2410.14672, section 3.2).

We differ in running the head on hidden places only, and in a condition that may have no classes at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.base import Prior, PriorSpec, start


@dataclass(frozen=True)
class MaskedPriorSpec(PriorSpec):
    """Sizes of a masked prior over binary codes."""

    dropout: float = 0.0  # after attention and SwiGLU, in training

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}; want a probability below 1")

    def build(self) -> MaskedPrior:
        return MaskedPrior(self)


def mask_ratio(u: float) -> float:
    """The share of hidden places, cos(pi/2 u), u in [0, 1)."""
    return math.cos(math.pi / 2 * u)


def hidden_count(places: int, u: float) -> int:
    """Places hidden at mask ratio `mask_ratio(u)`, at least one."""
    return min(places, max(1, int(mask_ratio(u) * places)))


class MaskedPrior(Prior):
    """p(codes of hidden places | codes of known places, condition)."""

    raster = False

    def __init__(self, spec: MaskedPriorSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, (2,) * spec.bits
        width, places = spec.width, math.prod(spec.grid)
        self.condition = spec.condition.build(width)
        self.from_bits = nn.Linear(spec.bits, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # stands at hidden places
        self.modulation = nn.Linear(width, 6 * width)  # one for all blocks
        self.blocks = nn.ModuleList(Block(width, spec.heads, spec.dropout) for _ in range(spec.depth))
        self.norm = RMSNorm(width)
        self.positions = nn.Parameter(torch.randn(places, width) * 0.02)  # added for the head
        self.head = spec.head.build(spec.bits, width)
        self.apply(start)

    def streams(self, digits: Tensor, known: Tensor, vectors: Tensor, rng: torch.Generator | None = None) -> Iterator[Tensor]:
        """The residual stream after each block in turn, (b, 1 + N, D); digits (b, N, K), known (b, N), vectors (b, D)."""
        visible = self.from_bits(digits.to(self.from_bits.weight.dtype))
        x = torch.where(known[..., None], visible, self.hidden.to(visible.dtype))
        x = torch.cat([vectors[:, None].to(x.dtype), x], 1)
        modulation = self.modulation(nn.functional.silu(vectors)).view(len(vectors), 6, -1)
        table = rotary_table(self.grid, x.shape[-1] // self.spec.heads, x.device)
        for block in self.blocks:
            x = block(x, modulation, table, rng)
            yield x

    def context(self, digits: Tensor, known: Tensor, vectors: Tensor, rng: torch.Generator | None = None) -> Tensor:
        *_, x = self.streams(digits, known, vectors, rng)
        return self.norm(x)[:, 1:] + self.positions

    def whole(self, digits: Tensor, vectors: Tensor) -> Iterator[Tensor]:
        return self.streams(digits, torch.ones(digits.shape[:-1], dtype=torch.bool, device=digits.device), vectors)

    def loss(self, codes: Codes, labels: Tensor | None, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """One mask ratio a batch, places uniform per image, the head's loss on hidden places; a scalar."""
        self.check(codes)
        digits, places = codes.flat(), codes.places
        b = len(digits)
        m = hidden_count(places, int(torch.randint(places, (), generator=rng, device=rng.device)) / places)
        order = torch.rand(b, places, generator=rng, device=digits.device).argsort(1)[:, :m]  # the hidden places
        known = torch.ones(b, places, dtype=torch.bool, device=digits.device).scatter_(1, order, False)
        vectors = self.embed(self.condition.drop(labels, class_dropout, rng), b)
        context = self.context(digits, known, vectors, rng)
        rows = torch.arange(b, device=digits.device)[:, None]
        return self.head.loss(digits[rows, order].flatten(0, 1), context[rows, order].flatten(0, 1), rng)
