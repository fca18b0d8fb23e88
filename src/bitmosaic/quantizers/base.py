"""The base class of quantizers, which turn vectors into digits and back; one file per scheme."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class Quantized:
    """What a quantizer's forward pass returns."""

    z: Tensor  # (batch, *grid, d) quantized vectors, through which gradients reach the input
    digits: Tensor  # (batch, *grid, k) integers
    losses: dict[str, Tensor] = field(default_factory=dict)  # scalars to be added to the loss, such as a commitment


@dataclass(frozen=True)
class QuantizerSpec(Spec, abstract=True):
    """Base class of descriptions of quantizers."""

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
        """Quantizes z (..., width) so that gradients reach it; `rng` draws where the scheme is random in training, None: deterministic."""
