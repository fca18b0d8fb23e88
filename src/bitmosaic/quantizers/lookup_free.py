"""Lookup-free quantization (LFQ, MAGVIT-v2, arXiv 2310.05737; Open-MAGVIT2, 2409.04410): the signs of a vector are its code.

We differ in counting entropies over groups of bits where there are more than 12, and in digits that are bits: an index of 2^D values is
one of our codes packed, the first bit least significant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantized
from bitmosaic.quantizers.signs import Bits, SignsSpec, sign_entropies


@dataclass(frozen=True)
class LFQSpec(SignsSpec):
    """D = `bits` signs a place."""

    scheme = "lfq"

    temperature: float = 0.01  # of p

    def __post_init__(self):
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature: got {self.temperature}; want a positive number")

    def build(self) -> LFQ:
        return LFQ(self)


class LFQ(Bits):
    """Vectors (..., D) <-> bits (..., D), read as +-1."""

    spec: LFQSpec

    def decode(self, digits: Tensor) -> Tensor:
        return 2 * digits.to(torch.get_default_dtype()) - 1

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        spec, digits, z = self.spec, self.encode(z), z.float()
        signs = self.decode(digits).to(z.dtype)
        losses = {"commitment": spec.commitment * (z - signs).square().mean()}
        if spec.entropy:
            each, of_mean = sign_entropies(z.flatten(0, -2), 2 / spec.temperature, spec.group)
            losses["entropy"] = spec.entropy * (each - spec.diversity * of_mean)
        return Quantized(z + (signs - z).detach(), digits, losses)
