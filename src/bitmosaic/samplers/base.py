"""What every sampler is: a generator of steps that asks a prior for hidden places, given known ones."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.spec import Spec


class PriorLike(Protocol):
    """What a sampler needs of a prior: a context for every place, and a head that draws from it."""

    radix: tuple[int, ...]  # of a place's digits

    raster: bool  # places must be revealed in raster order, and in_order(vectors) gives their contexts one by one
    head: nn.Module  # draws(...), draw(...), marginals(...), certainty(...) and entropy(...), as `priors.head.Head` has them
    condition: nn.Module  # .classes, 0 without classes

    def embed(self, labels: Tensor | None, batch: int) -> Tensor: ...
    def context(self, digits: Tensor, known: Tensor, vectors: Tensor) -> Tensor: ...
    def check(self, codes: Codes, known: Tensor) -> None: ...


@dataclass(frozen=True)
class Step:
    """The state after one step of sampling."""

    index: int  # steps done, 1..total
    total: int
    codes: Codes  # digits at places not yet known are zero
    known: Tensor  # (batch, *grid) bool
    entropy: Tensor  # (batch, *grid) bits of entropy a bit, from 0 to 1, at the places that were drawn in this step, zero elsewhere


@dataclass(frozen=True)
class SamplerSpec(Spec, abstract=True):
    """A frozen description of a sampler; calling what it builds yields Steps."""

    def build(self) -> Sampler:
        raise NotImplementedError


class Sampler(abc.ABC):
    """complete(codes, known, condition): the one way to generate, inpaint and edit."""

    @staticmethod
    def check(prior: PriorLike, codes: Codes, known: Tensor, generators: list[torch.Generator]) -> None:
        """ValueError where codes, known or the number of generators do not fit."""
        prior.check(codes, known)
        if len(generators) != len(known):
            raise ValueError(f"generators: got {len(generators)} for {len(known)} images; want one an image")

    @abc.abstractmethod
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, labels: Tensor | None, generators: list[torch.Generator]
    ) -> Iterator[Step]:
        """Yields a Step after each round; the last has every place known.

        codes (b, *grid, k) and known (b, *grid) bool say what is kept; labels (b,) integers, (b, classes) weights, or None;
        one generator an image, so that an image does not depend on its batch.
        """


def hidden_after(step: int, total: int, hidden: int) -> int:
    """Places that stay hidden after step `step` of `total`, floor(cos(pi/2 step/total) hidden); counts the hidden places only."""
    return 0 if step >= total else math.floor(math.cos(math.pi / 2 * step / total) * hidden)
