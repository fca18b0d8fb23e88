"""Nearest codeword by angle (ViT-VQGAN, arXiv 2110.04627; LlamaGen, 2406.06525; FQGAN, 2411.16681): vectors and codewords of unit length.

We differ in leaving the entropy out where its weight is 0, as LlamaGen does by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, check_pairs, nearest, straight_through
from bitmosaic.quantizers.entropy import assignment_entropies

TEMPERATURE = 0.01  # of the entropy's softmax over minus squared distances (LlamaGen, FQGAN)


@dataclass(frozen=True)
class CosineSpec(CodebookSpec):
    """K unit codewords of width d, trained by gradient descent."""

    scheme = "cosine"
    recipe_width = 8

    commitment: float = 0.25  # weight of mean (sg[e] - z)^2
    codebook: float = 1.0  # weight of mean (e - sg[z])^2
    entropy: float = 0.0  # weight of mean H(p) - H(mean p); FQGAN: 0.03

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, codebook=self.codebook, entropy=self.entropy)

    def build(self) -> Cosine:
        return Cosine(self)


class Cosine(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K; decoded vectors have unit length."""

    def __init__(self, spec: CosineSpec):
        super().__init__(spec)
        self.codebook = nn.Parameter(F.normalize(torch.empty(spec.codewords, spec.width).uniform_(-1, 1), dim=-1))

    def encode(self, z: Tensor) -> Tensor:
        return nearest(F.normalize(z.float(), dim=-1), F.normalize(self.codebook, dim=-1))[..., None]

    def decode(self, digits: Tensor) -> Tensor:
        return F.normalize(self.codebook, dim=-1)[digits[..., 0].long()]

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """ValueError where the entropy is asked for and the distances of a batch to all codewords are too many."""
        spec, u, codebook = self.spec, F.normalize(z.float(), dim=-1), F.normalize(self.codebook, dim=-1)
        quantized = straight_through(u, codebook, spec.commitment, spec.codebook)
        if spec.entropy:
            rows = u.flatten(0, -2)
            check_pairs(len(rows), spec.codewords)
            distances = torch.cdist(rows, codebook, compute_mode="donot_use_mm_for_euclid_dist").square()
            each, of_mean = assignment_entropies(-distances / TEMPERATURE)
            quantized.losses["entropy"] = spec.entropy * (each - of_mean)
        return quantized
