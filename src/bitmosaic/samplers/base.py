"""What every sampler is: a generator of steps that asks a prior for hidden places, given known ones."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import Condition, Encoded
from bitmosaic.samplers.settings import check_settings
from bitmosaic.spec import Spec

FITS = {"masked": "entropy-ordered", "causal": "raster", "denoising": "ancestral"}  # a sampler of each family, by name


class PriorLike(Protocol):
    """What a sampler needs of a prior, whatever its family; what else it asks, the family has (`priors.base`, `causal`, `denoising`)."""

    spec: Spec  # whose `end` is the index that ends an image's codes, where these have lengths, else None
    family: str  # "masked", "causal" or "denoising"
    radix: tuple[int, ...]  # of a place's digits
    condition: nn.Module  # .classes, 0 without classes

    def embed(self, condition: Condition | Tensor | None, batch: int) -> Encoded: ...
    def check(self, codes: Codes, known: Tensor) -> None: ...


@dataclass(frozen=True)
class Step:
    """The state after one step of sampling.

    Samplers of masked and causal priors reveal: what a place shows stays. Those of denoising priors may change any place but the given
    ones in every step, and nothing is certain before the last.
    """

    index: int  # steps done, 1..total
    total: int
    codes: Codes  # digits at places that are not known are zero
    known: Tensor  # (batch, *grid) bool: places that hold a code by now; none that did holds none later
    entropy: Tensor  # (batch, *grid) bits of entropy a bit, from 0 to 1, at the places that were drawn in this step, zero elsewhere


@dataclass(frozen=True)
class SamplerSpec(Spec, abstract=True):
    """A frozen description of a sampler; calling what it builds yields Steps. Fields that users set are those of `settings.SETTINGS`."""

    def __post_init__(self):
        check_settings(self)

    def build(self) -> Sampler:
        raise NotImplementedError


class Sampler(abc.ABC):
    """complete(codes, known, condition): the one way to generate, inpaint and edit."""

    name: ClassVar[str]  # by which users ask for it
    words: ClassVar[str]  # what it does, in a few
    families: ClassVar[tuple[str, ...]]  # of the priors that it asks
    of_indices: ClassVar[bool] = False  # whether it asks only those whose head has a logit for each codeword, or value of a digit
    per_digit: ClassVar[bool] = False  # whether it takes `known` of each digit

    def check(self, prior: PriorLike, codes: Codes, known: Tensor, generators: list[torch.Generator]) -> None:
        """ValueError where this sampler asks no such prior, or where codes, known or the number of generators do not fit."""
        if prior.family not in self.families or (self.of_indices and not prior.head.of_indices):
            asked = f"{' or '.join(self.families)} priors{' over indices' if self.of_indices else ''}"
            raise ValueError(f"sampler: {self.name!r} asks {asked}, and this one is {prior.family}; use the sampler {FITS[prior.family]!r}")
        prior.check(codes, known)
        if known.ndim == codes.digits.ndim and not self.per_digit:
            shape = tuple(known.shape)
            raise ValueError(f"known: got one mark a digit, {shape}; {self.name!r} reveals whole places, so want bool {shape[:-1]}")
        if len(generators) != len(known):
            raise ValueError(f"generators: got {len(generators)} for {len(known)} images; want one an image")

    @abc.abstractmethod
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        """Yields a Step after each round; the last has every place known.

        codes (b, *grid, k) and known (b, *grid) bool, or (b, *grid, k) where prior and sampler are `per_digit`, say what is kept;
        condition: values for b images, or None;
        one generator an image, so that an image does not depend on its batch.
        """
