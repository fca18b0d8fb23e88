"""Lookup-free quantization (LFQ, MAGVIT-v2, arXiv 2310.05737; Open-MAGVIT2, 2409.04410): the signs of a vector are its code.

We differ in counting entropies over groups of bits where there are more than 16, and in digits that are bits: an index of 2^D values is
one of our codes packed, the first bit least significant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec, check_weights
from bitmosaic.quantizers.entropy import MOST_BITS, sign_entropies


@dataclass(frozen=True)
class LFQSpec(QuantizerSpec):
    """D signs a place."""

    scheme = "lfq"

    bits: int = 4  # D
    entropy: float = 0.1  # weight of mean H(p) - diversity H(mean p), in nats
    diversity: float = 1.0  # weight of the second entropy over the first
    temperature: float = 0.01  # of p, a softmax over minus squared distances
    commitment: float = 0.25  # weight of mean (z - sg[q])^2
    group: int = 12  # bits over whose codes H(mean p) is taken jointly

    def __post_init__(self):
        if self.bits < 1 or not 1 <= self.group <= MOST_BITS or not self.temperature > 0:
            got = f"bits {self.bits}, group {self.group}, temperature {self.temperature}"
            raise ValueError(f"{got}: want positive ones, and a group of at most {MOST_BITS}")
        check_weights(entropy=self.entropy, diversity=self.diversity, commitment=self.commitment)

    @property
    def radix(self) -> tuple[int, ...]:
        return (2,) * self.bits

    @classmethod
    def of_bits(cls, bits: int) -> LFQSpec:
        return cls(bits)

    def build(self) -> LFQ:
        return LFQ(self)


class LFQ(Quantizer):
    """Vectors (..., D) <-> bits (..., D) = [z > 0], read as +-1."""

    def __init__(self, spec: LFQSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.bits, spec.radix

    def encode(self, z: Tensor) -> Tensor:
        return (z > 0).to(torch.uint8)

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
