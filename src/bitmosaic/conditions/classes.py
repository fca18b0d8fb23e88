"""Class conditions: a class or a blend of classes, embedded by a table of vectors (as in BiGR, arXiv 2410.14672, and DiT, 2212.09748)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.conditions.base import Condition, ConditionEncoder, ConditionReader, ConditionSpec, Encoded
from bitmosaic.names import composed
from bitmosaic.spec import later
from bitmosaic.values import value


class Shifted:
    """The condition of windows of a larger canvas: SHIFTED is its one value."""


SHIFTED = Shifted()


@dataclass(frozen=True)
class Classes(Condition):
    """One class for each image."""

    labels: Tensor  # (b,) integers; the number of classes is the null, and the next that of shifted images


@dataclass(frozen=True)
class Blends(Condition):
    """For each image a blend of classes, for instance to interpolate between two."""

    weights: Tensor  # (b, classes) floats; of shape (b, classes + 1) the last column weighs the null


@dataclass(frozen=True)
class ClassConditionSpec(ConditionSpec):
    """One of `classes` classes."""

    classes: int = 3
    shifted: bool = later(False, lambda _: False)  # a vector for shifted training images (`Run.shift`), which windows of a canvas take

    def __post_init__(self):
        if self.classes < 1:
            raise ValueError(f"classes: got {self.classes}; want at least 1, or a NoConditionSpec")

    def build(self, width: int, tokens: bool = False) -> ClassEncoder:
        return ClassEncoder(self.classes, width, self.shifted)


class ClassEncoder(ConditionEncoder):
    """A table of class vectors; index `classes` is the null class, and the next, where there is one, that of shifted images."""

    kinds, called = (Classes, Blends), "classes"

    def __init__(self, classes: int, width: int, shifted: bool = False):
        super().__init__()
        self.classes, self.shifted = classes, shifted
        self.table = nn.Embedding(classes + 1 + shifted, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, condition: Condition | Tensor | None, batch: int) -> Encoded:
        """As `ConditionEncoder.forward`; labels (b,) and weights (b, classes) may also be plain tensors."""
        if condition is None:
            return Encoded(self.table.weight[self.classes].expand(batch, -1))
        if isinstance(condition, Tensor) and (not condition.ndim or len(condition) != batch):
            raise ValueError(self._wrong(condition, batch))
        return super().forward(condition, batch)

    def value(self, condition: Condition | Tensor) -> Condition:
        """Integers are labels, floats are weights."""
        if isinstance(condition, Tensor):
            return (Blends if condition.is_floating_point() else Classes)(condition)
        return super().value(condition)

    def encode(self, condition: Classes | Blends) -> Encoded:
        """ValueError for tensors of another shape, or labels outside the classes on a CPU."""
        if isinstance(condition, Blends):
            weights = condition.weights
            if weights.ndim != 2 or weights.shape[1] - self.classes not in (0, 1):
                raise ValueError(self._wrong(weights, len(weights)))
            return Encoded(weights.to(self.table.weight.dtype) @ self.table.weight[: weights.shape[-1]])
        labels = condition.labels
        if labels.ndim != 1:
            raise ValueError(self._wrong(labels, len(labels)))
        inside = (labels >= 0) & (labels < len(self.table.weight))
        if labels.device.type == "cpu" and not bool(inside.all()):  # on a GPU it would synchronise
            low, high = int(labels.min()), int(labels.max())
            raise ValueError(f"labels: got {low} to {high}; want 0 to {self.classes - 1}, or the null {self.classes}")
        return Encoded(self.table(labels))

    def _wrong(self, found: Tensor, batch: int) -> str:
        return f"labels: got {found.dtype} {tuple(found.shape)}; want integers ({batch},) or weights ({batch}, {self.classes})"

    def null(self, batch: int) -> Classes:
        return Classes(torch.full((batch,), self.classes, device=self.table.weight.device))

    def drop(self, condition: Condition | Tensor | None, probability: float, rng: torch.Generator) -> Condition | None:
        """As of any encoder, but shifted images stay what they are: what the null draws is never shifted."""
        dropped = super().drop(condition, probability, rng)
        if not self.shifted or not isinstance(dropped, Classes):
            return dropped
        given = self.value(condition)
        return dropped.replaced(given.labels > self.classes, given)

    def of_data(self, labels: Tensor | None, captions: Sequence[str] | None) -> Classes | None:
        return None if labels is None else Classes(labels)

    def reader(self, class_names: Sequence[str]) -> ClassReader:
        return ClassReader(class_names, self.shifted)


class ClassReader(ConditionReader):
    """A class by number or name, or a blend {class: weight}."""

    kind = "class"

    def __init__(self, names: Sequence[str], shifted: bool = False):
        self.names, self.shifted = tuple(names), shifted

    def read(self, given: Sequence[Any]) -> Classes | Blends | None:
        """As `ConditionReader.read`, of numbers, names and blends {class: weight}; one blend makes the batch `Blends`."""
        if all(c is None for c in given):
            return None
        if not any(isinstance(c, dict) for c in given):
            return Classes(torch.tensor([self.number(c) for c in given]))
        rows = torch.zeros(len(given), len(self.names) + 1)
        for row, c in zip(rows, given, strict=True):
            if isinstance(c, dict) and not c:
                raise ValueError("condition: got a blend of no class; give weights, such as {'bag': 0.5, 'sandal': 0.5}")
            for name, weight in c.items() if isinstance(c, dict) else [(c, 1.0)]:
                row[self.number(name)] += float(weight)
        return Blends(rows)

    def number(self, name: int | str | None) -> int:
        """The number of a class given by number or name; None is the null class, numbered after the last."""
        name = value(name)
        if name is None:
            return len(self.names)
        if name is SHIFTED and self.shifted:
            return len(self.names) + 1
        if isinstance(name, str):
            numbers = _numbers(name, self.names)
            if len(numbers) > 1:
                told = " or ".join(map(str, numbers))
                raise ValueError(f"condition: {len(numbers)} classes are called {name!r}; give a number, {told}")
            if numbers:
                return numbers[0]
            if name.isascii() and name.isdecimal():
                name = int(name)
        if isinstance(name, Integral) and not isinstance(name, bool) and 0 <= name < len(self.names):
            return int(name)
        raise ValueError(f"condition: no class {name!r}; classes are {listed(self.names)}")

    def parse(self, text: str, argument: str) -> tuple[str, Any]:
        """As `ConditionReader.parse`, of a class, "none", or a blend such as bag:0.5+sandal:0.5; a prompt may only be a class's name."""
        if argument == "prompt":
            if not _numbers(text, self.names):
                raise ValueError(f"prompt: no class {text!r}, and this pipeline knows no text; its classes are {listed(self.names)}")
        elif text == "none" and text not in self.names:
            return text, None
        if ":" not in text or composed(text) in map(composed, self.names):
            number = self.number(text)
            return self.names[number], number
        blend = {}
        for part in text.split("+"):
            name, _, weight = part.rpartition(":")
            try:
                blend[self.number(name)] = float(weight)
            except ValueError as error:
                what = f"{argument}: cannot read {part!r} in {text!r} ({error}); a blend is like bag:0.5+sandal:0.5"
                raise ValueError(what) from error
        if not all(math.isfinite(w) and w >= 0 for w in blend.values()) or abs(sum(blend.values()) - 1) > 1e-3:
            raise ValueError(f"{argument}: weights in {text!r} must be at least 0 and sum to 1, such as bag:0.5+sandal:0.5")
        return text, blend

    def every(self) -> list[tuple[str, Any]]:
        return [(name, i) for i, name in enumerate(self.names)]


def _numbers(name: str, names: Sequence[str]) -> list[int]:
    """Numbers of the classes of a name: of that spelling, or else of one that differs only in its Unicode form."""
    exact = [i for i, own in enumerate(names) if own == name]
    return exact or [i for i, own in enumerate(names) if composed(own) == composed(name)]


def listed(names: Sequence[str], most: int = 20) -> str:
    """The names with their numbers, as text; of more than `most` only the first."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{i} {name}" for i, name in enumerate(names[:most])) + more
