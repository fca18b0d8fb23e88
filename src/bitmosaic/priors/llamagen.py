"""LlamaGen's prior: a causal Llama over codebook indices in raster order (Sun et al., arXiv 2406.06525, section 2.2).

The arithmetic is the published one, with a rotary table that is zero at the class (see `nets.rotary`), so published weights convert. We
differ in leaving out text conditions and grouped key/value heads, and in codes with lengths (`end`), as in JPEG-LM (2408.08459): that `end`
follows `end` is learned like all else, and samplers fill it in without asking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from bitmosaic.conditions import ConditionSpec
from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.priors.base import IndexPriorSpec, check_rotary, start
from bitmosaic.priors.causal import CausalPrior
from bitmosaic.priors.index_head import IndexHead
from bitmosaic.spec import later


@dataclass(frozen=True)
class LlamaGenSpec(IndexPriorSpec):
    """Sizes of a LlamaGen."""

    multiple: int = 256  # the inner width of SwiGLU is 8/3 of D rounded up to a multiple of this
    end: int | None = later(None, lambda _: None)  # the index that ends an image, for codes with lengths

    def __post_init__(self):
        super().__post_init__()
        check_rotary(self.grid, self.width, self.heads)
        if self.multiple < 1 or not (self.end is None or 0 <= self.end < self.codewords):
            raise ValueError(f"multiple {self.multiple} must be positive, end {self.end} one of {self.codewords} indices")

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> LlamaGenSpec:
        return replace(IndexPriorSpec.on(replace(self, end=None), grid, radix, condition), end=end)

    def build(self) -> LlamaGen:
        return LlamaGen(self)


class LlamaGen(CausalPrior):
    """p(index of a place | indices of all places before it, class)."""

    def __init__(self, spec: LlamaGenSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, spec.radix
        self.condition = spec.condition.build(spec.width)
        self.table = nn.Embedding(spec.codewords, spec.width)
        self.blocks = nn.ModuleList(Block(spec.width, spec.heads, 0.0, False, spec.multiple) for _ in range(spec.depth))
        self.norm = RMSNorm(spec.width)
        self.head = IndexHead(spec.codewords, spec.width)
        self.apply(start)
        nn.init.normal_(self.table.weight, std=0.02)

    def tokens(self, digits: Tensor, first: int) -> Tensor:
        return self.table(digits[..., 0].long())

    def modulation_of(self, vectors: Tensor) -> None:
        return None

    def leave(self, x: Tensor, first: int) -> Tensor:
        return self.norm(x)
