"""Conditions: batches of values, one an image, such as class labels, and the encoders that turn them into vectors and tokens.

Values are independent of any network; an encoder belongs to a prior and is trained with it. A batch of values is sliced, joined and moved
without regard to its kind, so samplers, editing and the studio work with any.
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
    """The conditions of a batch of images; every field is a tensor whose first axis counts images."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Self:
        """The conditions of some images; an integer gives a batch of one."""
        if isinstance(rows, int):
            rows = [rows]
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: Any) -> Self:
        """The same values on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def replaced(self, where: Tensor, other: Self) -> Self:
        """These conditions with those of `other` where `where` (b,) is True."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return type(self)(*(torch.where(where.view(-1, *[1] * (old.ndim - 1)), new, old) for old, new in pairs))

    @staticmethod
    def joined(parts: Sequence[Condition]) -> Condition:
        """Several batches as one. ValueError where they are of different kinds."""
        kind = type(parts[0])
        if any(type(part) is not kind for part in parts):
            raise ValueError(f"conditions: got {' and '.join(sorted({type(p).__name__ for p in parts}))}; one kind makes a batch")
        return kind(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(kind)))


@dataclass(frozen=True)
class Encoded:
    """Encoded conditions of a batch; a prior may use the vector, the tokens or both."""

    vector: Tensor  # (b, D), a summary of the condition
    tokens: Tensor | None = None  # (b, n, D), such as one for each token of a text; None for kinds without tokens
    mask: Tensor | None = None  # (b, n) bool, False where a token is padding

    @staticmethod
    def of(given: Encoded | Tensor) -> Encoded:
        """Encoded conditions as they are; vectors (b, D) become encoded conditions without tokens."""
        return Encoded(given) if isinstance(given, Tensor) else given

    def __len__(self) -> int:
        return len(self.vector)

    def expand(self, batch: int) -> Encoded:
        """The condition of one image, repeated for `batch` images."""
        return Encoded(*(None if x is None else x.expand(batch, *x.shape[1:]) for x in (self.vector, self.tokens, self.mask)))

    @staticmethod
    def joined(parts: Sequence[Encoded]) -> Encoded:
        """Several batches, encoded by one prior, as one."""
        both = ([getattr(part, name) for part in parts] for name in ("vector", "tokens", "mask"))
        return Encoded(*(None if some[0] is None else torch.cat(some) for some in both))


@dataclass(frozen=True)
class ConditionSpec(Spec, abstract=True):
    """Base class of descriptions of conditions, which build an encoder for a prior's width."""

    @property
    def has_tokens(self) -> bool:
        """Whether the encoder can give tokens beside the vector, for a prior with cross-attention."""
        return False

    def build(self, width: int, tokens: bool = False) -> ConditionEncoder:
        """An encoder for a prior of that width; tokens: whether it shall give tokens too, where this kind has some."""
        raise NotImplementedError


class ConditionReader(abc.ABC):
    """Reads conditions as users give them: Python values, and text of a command line or a page."""

    kind: ClassVar[str]  # "class", "text" or "none": what a page asks for
    shifted = False  # whether it reads SHIFTED

    @abc.abstractmethod
    def read(self, given: Sequence[Any]) -> Condition | None:
        """Conditions from one Python value an image, None for no condition; None where no image has one.

        ValueError, which begins with "condition:", for values that are no condition of this kind.
        """

    @abc.abstractmethod
    def parse(self, text: str, argument: str) -> tuple[str, Any]:
        """A label to show, and the value for `read`, from the text of `argument`, "class" or "prompt". ValueError names the argument."""

    @abc.abstractmethod
    def every(self) -> list[tuple[str, Any]]:
        """The (label, value) of each condition that is drawn where none is named. ValueError where one must be named."""


class ConditionEncoder(nn.Module, abc.ABC):
    """Conditions -> vectors (b, D), and tokens where the kind has them."""

    classes = 0  # 0 without classes
    guides = True  # whether conditions differ, so that classifier-free guidance applies
    kinds: tuple[type[Condition], ...]  # of values that it encodes
    called: str  # its kind of condition, in error messages

    @abc.abstractmethod
    def encode(self, condition: Condition) -> Encoded:
        """Encodes values of `kinds`. ValueError for values out of range or of a wrong shape."""

    @abc.abstractmethod
    def null(self, batch: int) -> Condition:
        """The null condition, for each of `batch` images."""

    @abc.abstractmethod
    def of_data(self, labels: Tensor | None, captions: Sequence[str] | None) -> Condition | None:
        """The conditions of a batch of training images, from labels (b,) or captions; None where there are none."""

    @abc.abstractmethod
    def reader(self, class_names: Sequence[str]) -> ConditionReader:
        """The reader of what users give; class_names: of the pipeline, () where it has none."""

    def learn(self, captions: Sequence[str]) -> None:  # noqa: B027, most kinds need none
        """Fits what no gradient trains, such as a vocabulary, to the captions, before training."""

    def forward(self, condition: Condition | Tensor | None, batch: int) -> Encoded:
        """As `encode`, with None for the null. ValueError for another kind, or a number of images other than `batch`."""
        value = self.null(batch) if condition is None else self.value(condition)
        if len(value) != batch:
            raise ValueError(f"condition: got {len(value)} for {batch} images")
        return self.encode(value)

    def value(self, condition: Condition | Tensor) -> Condition:
        """The condition itself; ValueError where it is not one of `kinds`."""
        if not isinstance(condition, self.kinds):
            what = f"{condition.dtype} {tuple(condition.shape)}" if isinstance(condition, Tensor) else type(condition).__name__
            raise ValueError(f"condition: got {what}; this prior is conditioned on {self.called}")
        return condition

    def drop(self, condition: Condition | Tensor | None, probability: float, rng: torch.Generator) -> Condition | None:
        """Conditions, each replaced by the null with `probability`, for classifier-free guidance (Ho and Salimans, arXiv 2207.12598)."""
        if condition is None or not self.guides:
            return None
        value = self.value(condition)
        dropped = torch.rand(len(value), generator=rng, device=rng.device) < probability
        return value.replaced(dropped, self.null(len(value)))
