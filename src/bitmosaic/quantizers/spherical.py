"""Binary spherical quantization (BSQ, arXiv 2406.07548): the signs of a unit vector, scaled back to the unit sphere.

We differ in normalising inside the quantizer, so that any encoder can stand before it. Published indices have the first bit most
significant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.quantizers.base import Quantized
from bitmosaic.quantizers.signs import Bits, SignsSpec, sign_entropies


@dataclass(frozen=True)
class BSQSpec(SignsSpec):
    """D = `bits` signs a place. Published: zeta is `entropy`, gamma / gamma_0 `diversity`; entropies are over inverse_temperature."""

    scheme = "bsq"

    group: int = 9  # bits over whose codes H(mean p) is taken jointly
    inverse_temperature: float = 100.0  # of p

    def __post_init__(self):
        super().__post_init__()
        if not self.inverse_temperature > 0:
            raise ValueError(f"inverse_temperature: got {self.inverse_temperature}; want a positive number")

    def build(self) -> BSQ:
        return BSQ(self)


class BSQ(Bits):
    """Vectors (..., D) <-> bits (..., D), read as +-1 / sqrt(D)."""

    spec: BSQSpec

    def decode(self, digits: Tensor) -> Tensor:
        return (2 * digits.to(torch.get_default_dtype()) - 1) * self.width**-0.5

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return self.on_sphere(F.normalize(z.float(), dim=-1))

    def on_sphere(self, u: Tensor) -> Quantized:
        """`forward` of unit vectors u (..., D); the straight-through gradient is scaled by 1 / sqrt(D)."""
        spec, scale, digits = self.spec, self.width**-0.5, self.encode(u)
        q = self.decode(digits).to(u.dtype)
        losses = {"commitment": spec.commitment * (q - u).square().sum(-1).mean()}
        if spec.entropy:
            each, of_mean = sign_entropies(u.flatten(0, -2), 2 * scale * spec.inverse_temperature, spec.group, 1e-8)
            losses["entropy"] = spec.entropy / spec.inverse_temperature * (each - spec.diversity * of_mean)
        return Quantized((u + (q / scale - u).detach()) * scale, digits, losses)
