"""A causal Llama over several digits a place, each predicted by itself given the places before: what FAR's depth head (FQGAN, arXiv
2411.16681, section 3.3) is held against, and LlamaGen's prior (2406.06525) where a place has one digit.

We differ from FAR in the head alone: it knows nothing of the other digits of its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bitmosaic.codes import MOST_BITS
from bitmosaic.conditions import ClassConditionSpec, ConditionSpec
from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.priors.base import PriorSpec, check_grid, check_rotary, start
from bitmosaic.priors.causal import CausalPrior
from bitmosaic.priors.digits_head import DigitsHead


@dataclass(frozen=True)
class CausalDigitsSpec(PriorSpec):
    """Sizes of a causal prior with independent heads."""

    grid: tuple[int, ...] = (4, 4)  # places along each axis, such as rows and columns
    radix: tuple[int, ...] = (5, 3)  # of each digit of a place
    depth: int = 2  # blocks
    heads: int = 2  # of attention
    width: int = 16  # D
    condition: ConditionSpec = ClassConditionSpec()
    multiple: int = 256  # the inner width of SwiGLU is 8/3 of D rounded up to a multiple of this

    def __post_init__(self):
        check_grid(self.grid)
        if min(*self.grid, self.depth, self.heads, self.width, self.multiple) < 1:
            raise ValueError("grid, depth, heads, width and multiple must be positive")
        if not self.radix or min(self.radix) < 2 or sum(self.radix) > 2**24 or len(self.radix) > MOST_BITS:
            raise ValueError(f"radix: got {self.radix}; want one digit or more, each of two values or more, {2**24:,} in all at most")
        check_rotary(self.grid, self.width, self.heads)

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> CausalDigitsSpec:
        return replace(self, grid=grid, radix=radix, condition=condition)

    def build(self) -> CausalDigits:
        return CausalDigits(self)


class CausalDigits(CausalPrior):
    """p(digit of a place | all places before it, class), of each digit."""

    def __init__(self, spec: CausalDigitsSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, spec.radix
        self.condition = spec.condition.build(spec.width)
        self.tables = nn.ModuleList(nn.Embedding(r, spec.width) for r in spec.radix)
        self.joined = nn.Linear(len(spec.radix) * spec.width, spec.width)
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads, 0.0, False, spec.multiple) for _ in range(spec.depth))
        self.norm = RMSNorm(spec.width)
        self.head = DigitsHead(spec.radix, spec.width)
        self.apply(start)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.02)

    def tokens(self, digits: Tensor, first: int) -> Tensor:
        return self.joined(torch.cat([table(digit.long()) for table, digit in zip(self.tables, digits.unbind(-1), strict=True)], -1))

    def modulation_of(self, vectors: Tensor) -> None:
        return None

    def leave(self, x: Tensor, first: int) -> Tensor:
        return self.norm(x)
