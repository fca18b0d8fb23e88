"""An autoregressive prior over bits: places in raster order, each given all before it (LlamaGen, arXiv 2406.06525).

Baselines S0 and S2 of BiGR (arXiv 2410.14672): S0 has a categorical head, S2 draws the bits of a place by Bernoulli diffusion. We differ
in blocks modulated by the class, as in BiGR's masked prior, and in bits as the input with every head, so that only order and head differ
from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.priors.base import BinaryPriorSpec, start
from bitmosaic.priors.causal import CausalPrior
from bitmosaic.spec import later


@dataclass(frozen=True)
class AutoregressivePriorSpec(BinaryPriorSpec):
    """Sizes of an autoregressive prior over binary codes."""

    input_positions: bool = later(False, lambda _: False)  # a vector a place at the input, as of `MaskedPriorSpec`

    def build(self) -> AutoregressivePrior:
        return AutoregressivePrior(self)


class AutoregressivePrior(CausalPrior):
    """Bits enter by a linear layer, the class modulates the blocks, and a learned vector marks the place to be predicted."""

    def __init__(self, spec: AutoregressivePriorSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, spec.radix
        self.condition = spec.condition.build(spec.width)
        self.from_bits = nn.Linear(spec.bits, spec.width)
        if spec.input_positions:
            self.input_positions = nn.Parameter(torch.randn(math.prod(spec.grid), spec.width) * 0.02)
        self.modulation = nn.Linear(spec.width, 6 * spec.width)  # one for all blocks
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads) for _ in range(spec.depth))
        self.norm = RMSNorm(spec.width)
        self.positions = nn.Parameter(torch.randn(math.prod(spec.grid), spec.width) * 0.02)  # of the place to be predicted
        self.head = spec.head.build(spec.bits, spec.width)
        self.apply(start)

    def tokens(self, digits: Tensor, first: int) -> Tensor:
        x = self.from_bits(digits.to(self.from_bits.weight.dtype))
        return x + self.input_positions[first : first + x.shape[1]] if self.spec.input_positions else x

    def modulation_of(self, vectors: Tensor) -> Tensor:
        return self.modulation(nn.functional.silu(vectors)).view(len(vectors), 6, -1)

    def leave(self, x: Tensor, first: int) -> Tensor:
        return self.norm(x) + self.positions[first : first + x.shape[1]]
