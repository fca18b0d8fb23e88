"""What every quantizer is: vectors <-> digits, one file per scheme."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class Quantized:
    """What a quantizer's forward pass returns."""

    z: Tensor  # (batch, *grid, d) quantized vectors, gradients pass to the input
    digits: Tensor  # (batch, *grid, k) integers
    losses: dict[str, Tensor] = field(default_factory=dict)  # scalars to be added to the loss, such as a commitment


@dataclass(frozen=True)
class QuantizerSpec(Spec, abstract=True):
    """What all quantizers' specs have in common: they build one, and say what digits it makes."""

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        raise NotImplementedError

    def build(self) -> Quantizer:
        raise NotImplementedError


class Quantizer(nn.Module, abc.ABC):
    """Vectors of width `width` in the last axis <-> digits below `radix`; `encode(decode(digits)) == digits`."""

    width: int
    radix: tuple[int, ...]

    @abc.abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """(..., width) -> digits (..., k)."""

    @abc.abstractmethod
    def decode(self, digits: Tensor) -> Tensor:
        """Digits (..., k) -> (..., width) float."""

    @abc.abstractmethod
    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """The differentiable way; `rng` draws where the scheme is random in training, None is the deterministic way."""
