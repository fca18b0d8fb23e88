"""SimVQ (arXiv 2411.02038, ICCV 2025): codewords are a frozen random basis behind a trained linear layer, so each step moves all.

We differ in decoding from indices with the projection, which the published `get_codebook_entry` leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import WIDTH, Quantized, Quantizer, QuantizerSpec, index_bits
from bitmosaic.quantizers.nearest import check_codebook, nearest, straight_through


@dataclass(frozen=True)
class SimVQSpec(QuantizerSpec):
    """K codewords C W^T + b of width d; C is random and fixed, W and b are trained."""

    scheme = "simvq"

    codewords: int = 8  # K
    width: int = 4  # d
    commitment: float = 0.25  # weight of mean (sg[e] - z)^2, which pulls vectors to codewords
    codebook: float = 1.0  # weight of mean (e - sg[z])^2, which pulls codewords to vectors

    def __post_init__(self):
        check_codebook(self.codewords, self.width, self.commitment, self.codebook)

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    @classmethod
    def of_bits(cls, bits: int) -> SimVQSpec:
        return cls(2 ** index_bits(bits), WIDTH)

    def build(self) -> SimVQ:
        return SimVQ(self)


class SimVQ(Quantizer):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    def __init__(self, spec: SimVQSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.width, spec.radix
        self.register_buffer("basis", torch.randn(spec.codewords, spec.width) * spec.width**-0.5)  # C, entries from N(0, 1 / d)
        self.projection = nn.Linear(spec.width, spec.width)

    @property
    def codebook(self) -> Tensor:
        """All codewords, (K, d)."""
        return self.projection(self.basis)

    def encode(self, z: Tensor) -> Tensor:
        return nearest(z, self.codebook)[..., None]

    def decode(self, digits: Tensor) -> Tensor:
        return self.projection(self.basis[digits[..., 0].long()])

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return straight_through(z, self.codebook, self.spec.commitment, self.spec.codebook)
