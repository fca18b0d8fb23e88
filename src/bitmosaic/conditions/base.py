"""Conditions: what a prior is told of each image of a batch, as values, and the encoders that turn them into vectors and tokens.

A value knows nothing of any network; an encoder belongs to a prior and is trained with it. A batch of values is cut, joined and moved
without a look at its kind, so samplers, editing and the studio never ask which kind they hold.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class Condition:
    """What is told of each image of a batch; every field is a tensor whose first axis counts images."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Self:
        """Those of some images, as a batch; of a number, a batch of one."""
        if isinstance(rows, int):
            rows = [rows]
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: Any) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def replaced(self, where: Tensor, other: Self) -> Self:
        """These, but `other` at the images `where` (b,) is True."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return type(self)(*(torch.where(where.view(-1, *[1] * (old.ndim - 1)), new, old) for old, new in pairs))

    @staticmethod
    def joined(parts: Sequence[Condition]) -> Condition:
        """One batch of several. ValueError where they are of different kinds."""
        kind = type(parts[0])
        if any(type(part) is not kind for part in parts):
            raise ValueError(f"conditions: got {' and '.join(sorted({type(p).__name__ for p in parts}))}; one kind makes a batch")
        return kind(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(kind)))


@dataclass(frozen=True)
class Encoded:
    """Encoded conditions of a batch, of which a prior uses what it knows."""

    vector: Tensor  # (b, D), all that is told in one
    tokens: Tensor | None = None  # (b, n, D), part by part; None: this kind of condition has one part
    mask: Tensor | None = None  # (b, n) bool, False where a token is padding

    @staticmethod
    def of(given: Encoded | Tensor) -> Encoded:
        """Vectors (b, D) are conditions without tokens."""
        return Encoded(given) if isinstance(given, Tensor) else given

    def __len__(self) -> int:
        return len(self.vector)

    def expand(self, batch: int) -> Encoded:
        """Those of one image for each of `batch`."""
        return Encoded(*(None if x is None else x.expand(batch, *x.shape[1:]) for x in (self.vector, self.tokens, self.mask)))

    @staticmethod
    def joined(parts: Sequence[Encoded]) -> Encoded:
        """One batch of several of one prior."""
        both = ([getattr(part, name) for part in parts] for name in ("vector", "tokens", "mask"))
        return Encoded(*(None if some[0] is None else torch.cat(some) for some in both))


@dataclass(frozen=True)
class ConditionSpec(Spec, abstract=True):
    """What all conditions have in common: an encoder is built for a prior's width."""

    @property
    def has_tokens(self) -> bool:
        """Whether there are tokens beside the vector, for a prior that attends to them."""
        return False

    def build(self, width: int, tokens: bool = False) -> ConditionEncoder:
        """An encoder for a prior of that width; tokens: whether it reads them, where this kind has some."""
        raise NotImplementedError


class ConditionReader(abc.ABC):
    """The form in which users give conditions of a kind: values of Python, and text on a command line or a page."""

    kind: ClassVar[str]  # "class", "text" or "none": what a page asks for

    @abc.abstractmethod
    def read(self, given: Sequence[Any]) -> Condition | None:
        """What is given of each image, None for nothing. None where nothing is told of any.

        ValueError, which begins with "condition:", for what is no condition of this kind.
        """

    @abc.abstractmethod
    def parse(self, text: str, argument: str) -> tuple[str, Any]:
        """A label for people, and what `read` takes, of the text of an argument, "class" or "prompt". ValueError names it."""

    @abc.abstractmethod
    def every(self) -> list[tuple[str, Any]]:
        """As `parse`, of each that is drawn where none is named. ValueError where one must be."""


class ConditionEncoder(nn.Module, abc.ABC):
    """Conditions -> vectors (b, D), and tokens where the kind has them."""

    classes = 0  # 0 without classes
    guides = True  # whether there is anything to be told, so that guidance has two branches
    kinds: tuple[type[Condition], ...]  # of values that it encodes
    called: str  # what it is told, in an error message

    @abc.abstractmethod
    def encode(self, condition: Condition) -> Encoded:
        """Of values of `kinds`. ValueError for values that cannot be."""

    @abc.abstractmethod
    def null(self, batch: int) -> Condition:
        """The value that says nothing, for each of `batch` images."""

    @abc.abstractmethod
    def of_data(self, labels: Tensor | None, captions: Sequence[str] | None) -> Condition | None:
        """What is told of a batch of training images, with class numbers (b,) and captions where there are any; None: nothing."""

    @abc.abstractmethod
    def reader(self, class_names: Sequence[str]) -> ConditionReader:
        """The form in which users give such conditions; class_names: of the pipeline, () without."""

    def learn(self, captions: Sequence[str]) -> None:  # noqa: B027, most kinds have nothing to learn so
        """Takes from the data what no gradient can teach, before training."""

    def forward(self, condition: Condition | Tensor | None, batch: int) -> Encoded:
        """As `encode`, where None is the null. ValueError for another kind, or of another number of images than `batch`."""
        value = self.null(batch) if condition is None else self.value(condition)
        if len(value) != batch:
            raise ValueError(f"condition: got {len(value)} for {batch} images")
        return self.encode(value)

    def value(self, condition: Condition | Tensor) -> Condition:
        """Itself; ValueError where it is of a kind that this does not know."""
        if not isinstance(condition, self.kinds):
            what = f"{condition.dtype} {tuple(condition.shape)}" if isinstance(condition, Tensor) else type(condition).__name__
            raise ValueError(f"condition: got {what}; this prior is told {self.called}")
        return condition

    def drop(self, condition: Condition | Tensor | None, probability: float, rng: torch.Generator) -> Condition | None:
        """Conditions of which each is replaced by the null with `probability`, for training with guidance."""
        if condition is None or not self.guides:
            return None
        value = self.value(condition)
        dropped = torch.rand(len(value), generator=rng, device=rng.device) < probability
        return value.replaced(dropped, self.null(len(value)))
