"""The base class of quantizers, which turn vectors into digits and back; one file per scheme."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field
from typing import ClassVar

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
    """Base class of descriptions of quantizers.

    scheme: the name by which a recipe takes it; "" where it has none.
    """

    scheme: ClassVar[str] = ""

    @classmethod
    def of_bits(cls, bits: int) -> QuantizerSpec:
        """One whose place holds about `bits` bits, or as many as suit the scheme if that is less."""
        raise NotImplementedError

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        raise NotImplementedError

    def build(self) -> Quantizer:
        raise NotImplementedError


def schemes() -> dict[str, type[QuantizerSpec]]:
    """Schemes by name."""
    kinds = (kind for kind in Spec.table.values() if issubclass(kind, QuantizerSpec) and kind.scheme)
    return dict(sorted((kind.scheme, kind) for kind in kinds))


class Quantizer(nn.Module, abc.ABC):
    """Vectors of width `width` in the last axis <-> digits below `radix`; `encode(preimage(digits)) == digits` where `exact`."""

    width: int
    radix: tuple[int, ...]
    exact = True  # whether every combination of digits has vectors that are encoded to it

    @abc.abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """(..., width) -> digits (..., k)."""

    @abc.abstractmethod
    def decode(self, digits: Tensor) -> Tensor:
        """Digits (..., k) -> (..., width) float."""

    def preimage(self, digits: Tensor) -> Tensor:
        """Vectors (..., width) that are encoded to these digits: the decoded ones, unless the scheme bounds its input."""
        return self.decode(digits)

    @abc.abstractmethod
    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """Quantizes z (..., width) so that gradients reach it; `rng` draws where the scheme is random in training, None: deterministic."""


def check_weights(**weights: float) -> None:
    """ValueError unless all are finite and not negative."""
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name}: got {weight}; want a finite weight, not negative")
