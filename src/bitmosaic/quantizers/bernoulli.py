"""Bernoulli binary quantizer (Binary Latent Diffusion, arXiv 2304.04820, eq. 2-3; BiGR, arXiv 2410.14672).

We differ in nothing; the 1x1 convolution before it and the bit embeddings after it belong to the tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantized
from bitmosaic.quantizers.signs import Bits, BitsSpec


@dataclass(frozen=True)
class BernoulliQuantizerSpec(BitsSpec):
    """K = `bits` logits <-> K bits."""

    scheme = "bernoulli"

    def build(self) -> BernoulliQuantizer:
        return BernoulliQuantizer(self)


class BernoulliQuantizer(Bits):
    """Logits z (..., K) <-> bits b (..., K): p = sigmoid(z), b = [p > 1/2]; in training b ~ Bernoulli(p), passed on as b + p - sg[p]."""

    def decode(self, digits: Tensor) -> Tensor:
        return digits.to(torch.get_default_dtype())

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        p = torch.sigmoid(z.float())
        with torch.no_grad():
            drawn = z > 0 if rng is None else p > torch.rand(p.shape, generator=rng, device=p.device)
            bits = drawn.to(torch.uint8)
        return Quantized(bits + p - p.detach(), bits)
