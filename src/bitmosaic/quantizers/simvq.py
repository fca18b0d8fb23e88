"""SimVQ (arXiv 2411.02038, ICCV 2025): codewords are a frozen random basis behind a trained linear layer, so each step moves all.

We differ in decoding from indices with the projection, which the published `get_codebook_entry` leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, straight_through


@dataclass(frozen=True)
class SimVQSpec(CodebookSpec):
    """K codewords C W^T + b of width d; C is random and fixed, W and b are trained."""

    scheme = "simvq"

    commitment: float = 0.25  # weight of mean (sg[e] - z)^2, which pulls vectors to codewords
    codebook: float = 1.0  # weight of mean (e - sg[z])^2, which pulls codewords to vectors

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, codebook=self.codebook)

    def build(self) -> SimVQ:
        return SimVQ(self)


class SimVQ(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    def __init__(self, spec: SimVQSpec):
        super().__init__(spec)
        self.register_buffer("basis", torch.randn(spec.codewords, spec.width) * spec.width**-0.5)  # C, entries from N(0, 1 / d)
        self.projection = nn.Linear(spec.width, spec.width)

    @property
    def codebook(self) -> Tensor:
        """All codewords, (K, d)."""
        return self.projection(self.basis)

    def decode(self, digits: Tensor) -> Tensor:
        return self.projection(self.basis[digits[..., 0].long()])

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return straight_through(z, self.codebook, self.spec.commitment, self.spec.codebook)
