"""Binary spherical quantization (BSQ, arXiv 2406.07548): the signs of a unit vector, scaled back to the unit sphere.

We differ in normalising inside the quantizer, so that any encoder can stand before it. Published indices have the first bit most
significant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec, check_weights
from bitmosaic.quantizers.entropy import MOST_BITS, sign_entropies


@dataclass(frozen=True)
class BSQSpec(QuantizerSpec):
    """D signs a place."""

    scheme = "bsq"

    bits: int = 4  # D
    entropy: float = 0.1  # weight of (mean H(p) - diversity H(mean p)) / inverse_temperature (published: zeta)
    diversity: float = 1.0  # weight of the second entropy over the first (published: gamma / gamma_0)
    inverse_temperature: float = 100.0  # of p, a softmax over minus squared distances
    commitment: float = 0.25  # weight of the mean over places of |q - z|^2
    group: int = 9  # bits over whose codes H(mean p) is taken jointly

    def __post_init__(self):
        if self.bits < 1 or not 1 <= self.group <= MOST_BITS or not self.inverse_temperature > 0:
            got = f"bits {self.bits}, group {self.group}, inverse_temperature {self.inverse_temperature}"
            raise ValueError(f"{got}: want positive ones, and a group of at most {MOST_BITS}")
        check_weights(entropy=self.entropy, diversity=self.diversity, commitment=self.commitment)

    @property
    def radix(self) -> tuple[int, ...]:
        return (2,) * self.bits

    @classmethod
    def of_bits(cls, bits: int) -> BSQSpec:
        return cls(bits)

    def build(self) -> BSQ:
        return BSQ(self)


class BSQ(Quantizer):
    """Vectors (..., D) <-> bits (..., D) = [z > 0], read as +-1 / sqrt(D)."""

    def __init__(self, spec: BSQSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.bits, spec.radix

    def encode(self, z: Tensor) -> Tensor:
        return (z > 0).to(torch.uint8)

    def decode(self, digits: Tensor) -> Tensor:
        return (2 * digits.to(torch.get_default_dtype()) - 1) * self.width**-0.5

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        digits = self.encode(z)
        u = F.normalize(z.float(), dim=-1)
        return Quantized(*self.on_sphere(u, digits))

    def on_sphere(self, u: Tensor, digits: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantized unit vectors u (..., D), their digits, and losses; the straight-through gradient is scaled by 1 / sqrt(D)."""
        spec, scale = self.spec, self.width**-0.5
        q = self.decode(digits).to(u.dtype)
        losses = {"commitment": spec.commitment * (q - u).square().sum(-1).mean()}
        if spec.entropy:
            each, of_mean = sign_entropies(u.flatten(0, -2), 2 * scale * spec.inverse_temperature, spec.group, 1e-8)
            losses["entropy"] = spec.entropy / spec.inverse_temperature * (each - spec.diversity * of_mean)
        return (u + (q / scale - u).detach()) * scale, digits, losses
