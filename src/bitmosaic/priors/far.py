"""FAR, the prior of FQGAN (Bai et al., arXiv 2411.16681, section 3.3): a causal Llama in raster order whose input joins the codes of a
place, and a depth head that predicts them one after another.

The arithmetic is the published one, with a rotary table that is zero at the class and at the head's first position. We differ in any number
of digits a place, of any radices, which makes it a prior over product and residual codes too.
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
from bitmosaic.priors.depth_head import DepthHead


@dataclass(frozen=True)
class FARSpec(PriorSpec):
    """Sizes of a FAR."""

    grid: tuple[int, ...] = (4, 4)  # places along each axis, such as rows and columns
    radix: tuple[int, ...] = (5, 3)  # of each digit of a place
    depth: int = 2  # blocks
    heads: int = 2  # of attention, in the head too
    width: int = 16  # D
    head_depth: int = 1  # blocks of the depth head; published 3 or 4
    condition: ConditionSpec = ClassConditionSpec()
    multiple: int = 256  # the inner width of SwiGLU is 8/3 of D rounded up to a multiple of this

    def __post_init__(self):
        check_grid(self.grid)
        if min(*self.grid, self.depth, self.heads, self.width, self.head_depth, self.multiple) < 1:
            raise ValueError("grid, depth, heads, width, head_depth and multiple must be positive")
        if not self.radix or min(self.radix) < 2 or sum(self.radix) > 2**24 or len(self.radix) > MOST_BITS:
            raise ValueError(f"radix: got {self.radix}; want one digit or more, each of two values or more, {2**24:,} in all at most")
        check_rotary(self.grid, self.width, self.heads)
        check_rotary((1, 1), self.width, self.heads)  # the head's

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> FARSpec:
        return replace(self, grid=grid, radix=radix, condition=condition)

    def build(self) -> FAR:
        return FAR(self)


class FAR(CausalPrior):
    """p(digit of a place | digits before it there, all places before it, class)."""

    def __init__(self, spec: FARSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, spec.radix
        self.condition = spec.condition.build(spec.width)
        self.head = DepthHead(spec.radix, spec.width, spec.heads, spec.head_depth, spec.multiple)
        self.joined = nn.Linear(len(spec.radix) * spec.width, spec.width)
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads, 0.0, False, spec.multiple) for _ in range(spec.depth))
        self.apply(start)
        for table in self.head.tables:
            nn.init.normal_(table.weight, std=0.02)

    @property
    def norm(self) -> RMSNorm:
        """The norm after the last block of all, which is the head's."""
        return self.head.norm

    def tokens(self, digits: Tensor, first: int) -> Tensor:
        return self.joined(torch.cat(self.head.embedded(digits), -1))

    def modulation_of(self, vectors: Tensor) -> None:
        return None

    def leave(self, x: Tensor, first: int) -> Tensor:
        return x
