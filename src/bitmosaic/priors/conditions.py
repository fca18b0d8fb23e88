"""Conditions: what a prior is told about the image, turned into one vector; a prior never knows which kind it has."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class ConditionSpec(Spec, abstract=True):
    """What all conditions have in common: they are built for a width."""

    def build(self, width: int) -> Condition:
        raise NotImplementedError


@dataclass(frozen=True)
class ClassConditionSpec(ConditionSpec):
    """One of `classes` classes."""

    classes: int = 3

    def __post_init__(self):
        if self.classes < 1:
            raise ValueError(f"classes: got {self.classes}; want at least 1, or a NoConditionSpec")

    def build(self, width: int) -> ClassCondition:
        return ClassCondition(self.classes, width)


@dataclass(frozen=True)
class NoConditionSpec(ConditionSpec):
    """Nothing is told: unconditional data."""

    def build(self, width: int) -> NoCondition:
        return NoCondition(width)


class Condition(nn.Module, abc.ABC):
    """Labels -> vectors (b, D)."""

    classes: int  # 0 without classes

    @abc.abstractmethod
    def forward(self, labels: Tensor | None, batch: int) -> Tensor:
        """The vectors of `batch` images: labels (b,) integers, or None for the null; or weights
        (b, classes) floats, where a further column (b, classes + 1) weighs the null."""

    def drop(self, labels: Tensor | None, probability: float, rng: torch.Generator) -> Tensor | None:
        """Labels of which each is replaced by the null with `probability`, for training with guidance."""
        return None


class ClassCondition(Condition):
    """A table of class vectors; index `classes` is the null class. Weights blend vectors (interpolation between classes)."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, labels: Tensor | None, batch: int) -> Tensor:
        """Vectors (b, D) as `Condition.forward` has them; ValueError for labels of another shape, or outside the classes on a CPU."""
        if labels is None:
            return self.table.weight[-1].expand(batch, -1)
        weights = labels.is_floating_point()
        if labels.ndim != 1 + weights or len(labels) != batch or (weights and labels.shape[1] - self.classes not in (0, 1)):
            raise ValueError(
                f"labels: got {labels.dtype} {tuple(labels.shape)}; want integers ({batch},) or weights ({batch}, {self.classes})"
            )
        if weights:
            return labels.to(self.table.weight.dtype) @ self.table.weight[: labels.shape[-1]]
        if labels.device.type == "cpu" and not bool(((labels >= 0) & (labels <= self.classes)).all()):  # on a GPU it would wait
            raise ValueError(
                f"labels: got {int(labels.min())} to {int(labels.max())}; want 0 to {self.classes - 1}, or the null {self.classes}"
            )
        return self.table(labels)

    def drop(self, labels: Tensor | None, probability: float, rng: torch.Generator) -> Tensor | None:
        if labels is None:
            return None
        dropped = torch.rand(labels.shape, generator=rng, device=labels.device) < probability
        return torch.where(dropped, self.classes, labels)


class NoCondition(Condition):
    """One learned vector for every image."""

    def __init__(self, width: int):
        super().__init__()
        self.classes = 0
        self.vector = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, labels: Tensor | None, batch: int) -> Tensor:
        if labels is not None:
            raise ValueError("labels: this prior was trained without classes; pass None")
        return self.vector.expand(batch, -1)
