"""No condition: one learned vector for every image, so that a prior is built alike with and without conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionReader, ConditionSpec, Encoded


@dataclass(frozen=True)
class Nothing(Condition):
    """No condition, for each image of a batch."""

    images: Tensor  # (b, 0): it only counts the images


@dataclass(frozen=True)
class NoConditionSpec(ConditionSpec):
    """Unconditional data."""

    def build(self, width: int, tokens: bool = False) -> NoEncoder:
        return NoEncoder(width)


class NoEncoder(ConditionEncoder):
    """The same learned vector for every image."""

    kinds, called, guides = (Nothing,), "nothing", False

    def __init__(self, width: int):
        super().__init__()
        self.vector = nn.Parameter(torch.randn(width) * 0.02)

    def value(self, condition: Condition | Tensor) -> Condition:
        """The condition itself; ValueError for any but `Nothing`."""
        if isinstance(condition, Tensor):
            raise ValueError("labels: this prior was trained without classes; pass None")
        return super().value(condition)

    def encode(self, condition: Nothing) -> Encoded:
        return Encoded(self.vector.expand(len(condition), -1))

    def null(self, batch: int) -> Nothing:
        return Nothing(torch.zeros(batch, 0, device=self.vector.device))

    def of_data(self, labels: Tensor | None, captions: Sequence[str] | None) -> None:
        return None

    def reader(self, class_names: Sequence[str]) -> NoReader:
        return NoReader()


class NoReader(ConditionReader):
    """Reads None, and refuses any other condition."""

    kind = "none"

    def read(self, given: Sequence[Any]) -> None:
        told = next((c for c in given if c is not None), None)
        if told is not None:
            raise ValueError(f"condition: got {told!r}; this pipeline was trained without classes or captions")

    def parse(self, text: str, argument: str) -> tuple[str, None]:
        if text != "none" or argument == "prompt":
            raise ValueError(f"{argument}: got {text!r}, but this pipeline was trained without classes or captions; give none")
        return text, None

    def every(self) -> list[tuple[str, None]]:
        return [("image", None)]
