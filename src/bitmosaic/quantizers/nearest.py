"""Nearest codeword (VQ-VAE, arXiv 1711.00937, eq. 1-3; VQGAN, arXiv 2012.09841): a place is the index of the closest of K vectors.

We differ in the search alone, see `codebook`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, straight_through


@dataclass(frozen=True)
class NearestSpec(CodebookSpec):
    """K codewords of width d, trained by gradient descent."""

    scheme = "nearest"

    commitment: float = 0.25  # weight of mean (sg[e] - z)^2, which pulls vectors to codewords; taming-transformers has 1 by default
    codebook: float = 1.0  # weight of mean (e - sg[z])^2, which pulls codewords to vectors; taming-transformers has 0.25 by default

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, codebook=self.codebook)

    def build(self) -> Nearest:
        return Nearest(self)


class Nearest(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K, with the straight-through gradient in training."""

    def __init__(self, spec: NearestSpec):
        super().__init__(spec)
        self.codebook = nn.Parameter(torch.empty(spec.codewords, spec.width).uniform_(-1 / spec.codewords, 1 / spec.codewords))

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return straight_through(z, self.codebook, self.spec.commitment, self.spec.codebook)
