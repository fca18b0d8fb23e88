"""Finite scalar quantization (FSQ, arXiv 2309.15505) and its improved bound (iFSQ, arXiv 2601.17124): each number is rounded to levels.

We differ in keeping the levels of a place as digits of their own, which published programs join into one index. Of iFSQ we take the
mapping 2 sigmoid(1.6 z) - 1, which makes a standard normal nearly even, and cut it into bins of equal width, so that all are used alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec

INSIDE = 1e-3  # how far the outermost levels stay inside the bound (FSQ, appendix A.1)
SLOPE = 1.6  # of iFSQ's sigmoid


@dataclass(frozen=True)
class _LevelsSpec(QuantizerSpec, abstract=True):
    levels: tuple[int, ...] = (8, 5, 5)

    def __post_init__(self):
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels: got {self.levels}; each number needs at least two")

    @property
    def radix(self) -> tuple[int, ...]:
        return self.levels


@dataclass(frozen=True)
class FSQSpec(_LevelsSpec):
    """Number i of a vector has `levels[i]` levels, bounded by tanh."""

    scheme = "fsq"

    @classmethod
    def of_bits(cls, bits: int) -> FSQSpec:
        return cls(levels_for(bits))

    def build(self) -> FSQ:
        return FSQ(self)


@dataclass(frozen=True)
class IFSQSpec(_LevelsSpec):
    """The same with iFSQ's bound, by a sigmoid."""

    scheme = "ifsq"

    @classmethod
    def of_bits(cls, bits: int) -> IFSQSpec:
        return cls(levels_for(bits))

    def build(self) -> IFSQ:
        return IFSQ(self)


class FSQ(Quantizer):
    """Vectors (..., d) <-> levels (..., d), evenly spaced in [-1, 1]."""

    def __init__(self, spec: FSQSpec | IFSQSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, len(spec.levels), spec.radix
        self.register_buffer("levels", torch.tensor(spec.levels), persistent=False)

    def steps(self, z: Tensor) -> Tensor:
        """Bounded z in units of levels: rounded, the level's number minus `zero`."""
        half = (self.levels - 1) * (1 - INSIDE) / 2
        offset = 0.5 - 0.5 * (self.levels % 2)  # an even number of levels has none at 0
        return torch.tanh(z + torch.tan(offset / half)) * half - offset

    @property
    def zero(self) -> Tensor:
        """Number of the level at 0."""
        return self.levels // 2

    def encode(self, z: Tensor) -> Tensor:
        return self.steps(z.float()).round().long() + self.zero

    def decode(self, digits: Tensor) -> Tensor:
        return (digits - self.zero).to(torch.get_default_dtype()) / self.zero

    def preimage(self, digits: Tensor) -> Tensor:
        half, offset = (self.levels - 1) * (1 - INSIDE) / 2, 0.5 - 0.5 * (self.levels % 2)
        inside = ((digits - self.zero + offset) / half).clamp(-1 + INSIDE / 4, 1 - INSIDE / 4)
        return torch.atanh(inside) - torch.tan(offset / half)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        steps = self.steps(z.float())
        rounded = steps + (steps.round() - steps).detach()
        return Quantized(rounded / self.zero, steps.detach().round().long() + self.zero)


class IFSQ(FSQ):
    """The same, by z -> 2 sigmoid(1.6 z) - 1 and bins of equal width; levels are the bins' centres, scaled to [-1, 1]."""

    def steps(self, z: Tensor) -> Tensor:
        return torch.sigmoid(SLOPE * z) * self.levels - 0.5

    @property
    def zero(self) -> Tensor:
        return torch.zeros_like(self.levels)

    def encode(self, z: Tensor) -> Tensor:
        return torch.minimum(self.steps(z.float()).round().long().clamp(min=0), self.levels - 1)

    def decode(self, digits: Tensor) -> Tensor:
        return 2 * digits.to(torch.get_default_dtype()) / (self.levels - 1) - 1

    def preimage(self, digits: Tensor) -> Tensor:
        return torch.logit((digits + 0.5) / self.levels) / SLOPE

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        digits, steps = self.encode(z), 2 * self.steps(z.float()) / (self.levels - 1) - 1
        return Quantized(steps + (self.decode(digits).to(steps.dtype) - steps).detach(), digits)


def levels_for(bits: float) -> tuple[int, ...]:
    """Levels for about 2^bits values, as the FSQ paper chooses them (table 1): at least five each, as even as can be."""
    numbers = max(1, math.floor(bits / math.log2(5)))
    base = 2 ** (bits / numbers)
    levels = [math.floor(base)] * numbers
    for i in range(numbers):  # raise single numbers while the product comes closer
        raised = [*levels[:i], levels[i] + 1, *levels[i + 1 :]]
        if abs(math.log2(math.prod(raised)) - bits) < abs(math.log2(math.prod(levels)) - bits):
            levels = raised
    return tuple(max(2, level) for level in levels)
