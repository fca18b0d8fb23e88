"""What quantizers share whose places hold bits, each the sign of a number: Bernoulli's, LFQ (arXiv 2310.05737) and BSQ (arXiv 2406.07548).

We differ in taking entropies over groups of bits, which BSQ does and LFQ does not: the codes of more than 16 bits are too many to compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantizer, QuantizerSpec, check_weights
from bitmosaic.quantizers.entropy import assignment_entropies

MOST_BITS = 16  # of a group: 65,536 codes


@dataclass(frozen=True)
class BitsSpec(QuantizerSpec, abstract=True):
    """Base class of descriptions of quantizers to bits."""

    bits: int = 4  # of a place

    def __post_init__(self):
        if self.bits < 1:
            raise ValueError(f"bits: got {self.bits}; a place needs at least one")

    @property
    def radix(self) -> tuple[int, ...]:
        return (2,) * self.bits

    @classmethod
    def of_bits(cls, bits: int) -> Self:
        return cls(bits)


@dataclass(frozen=True)
class SignsSpec(BitsSpec, abstract=True):
    """Base class of descriptions of quantizers to signs, with a commitment and an entropy loss."""

    entropy: float = 0.1  # weight of mean H(p) - diversity H(mean p), in nats; p is a softmax over minus squared distances
    diversity: float = 1.0  # weight of the second entropy over the first
    commitment: float = 0.25  # weight of the squared distance of a vector from its code
    group: int = 12  # bits over whose codes H(mean p) is taken jointly

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.group <= MOST_BITS:
            raise ValueError(f"group: got {self.group}; want 1 to {MOST_BITS} bits, since all their codes are compared with every place")
        check_weights(entropy=self.entropy, diversity=self.diversity, commitment=self.commitment)


class Bits(Quantizer):
    """Vectors (..., bits) <-> bits (..., bits) = [z > 0]."""

    def __init__(self, spec: BitsSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.bits, spec.radix

    def encode(self, z: Tensor) -> Tensor:
        return (z > 0).to(torch.uint8)


def sign_codes(bits: int, device: torch.device | None = None) -> Tensor:
    """All 2^bits vectors of +-1, (2^bits, bits), the first bit least significant."""
    return (torch.arange(2**bits, device=device)[:, None] >> torch.arange(bits, device=device) & 1) * 2.0 - 1


def sign_entropies(z: Tensor, scale: float, group: int, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """`assignment_entropies` of z (n, D) to vectors of +-1, logits `scale` z.c, summed over groups of `group` bits.

    Bits are independent given z, so the mean entropy does not depend on the groups; the entropy of the mean does.
    """
    found = [assignment_entropies(scale * part @ sign_codes(part.shape[1], z.device).T.to(z.dtype), eps) for part in z.split(group, 1)]
    return sum(each for each, _ in found), sum(of_mean for _, of_mean in found)
