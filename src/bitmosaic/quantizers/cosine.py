"""Nearest codeword by angle (ViT-VQGAN, arXiv 2110.04627; LlamaGen, 2406.06525; FQGAN, 2411.16681): vectors and codewords of unit length.

We differ in leaving the entropy out where its weight is 0, as LlamaGen does by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitmosaic.quantizers.base import WIDTH, Quantized, Quantizer, QuantizerSpec, check_weights, index_bits
from bitmosaic.quantizers.entropy import assignment_entropies
from bitmosaic.quantizers.nearest import PAIRS, check_codebook, nearest, straight_through

TEMPERATURE = 0.01  # of the entropy's softmax over minus squared distances (LlamaGen, FQGAN)


@dataclass(frozen=True)
class CosineSpec(QuantizerSpec):
    """K unit codewords of width d, trained by gradient descent."""

    scheme = "cosine"

    codewords: int = 8  # K
    width: int = 4  # d
    commitment: float = 0.25  # weight of mean (sg[e] - z)^2
    codebook: float = 1.0  # weight of mean (e - sg[z])^2
    entropy: float = 0.0  # weight of mean H(p) - H(mean p); FQGAN: 0.03

    def __post_init__(self):
        check_codebook(self.codewords, self.width, self.commitment, self.codebook)
        check_weights(entropy=self.entropy)

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    @classmethod
    def of_bits(cls, bits: int) -> CosineSpec:
        return cls(2 ** index_bits(bits), WIDTH // 2)

    def build(self) -> Cosine:
        return Cosine(self)


class Cosine(Quantizer):
    """Vectors (..., d) <-> one index (..., 1) below K; decoded vectors have unit length."""

    def __init__(self, spec: CosineSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.width, spec.radix
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


def check_pairs(places: int, codewords: int) -> None:
    """ValueError where a loss over all pairs of places and codewords would take more than 1 GiB."""
    if places * codewords > 16 * PAIRS:
        raise ValueError(
            f"entropy: {places:,} places of a batch times {codewords:,} codewords are distances of {places * codewords / 2**28:.1f} GiB; "
            "take smaller batches or more parts, or an entropy weight of 0"
        )
