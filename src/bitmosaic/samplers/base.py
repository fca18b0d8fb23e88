"""The base class of samplers, which yield steps while they draw hidden places from a prior, given known ones."""

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
    """What samplers need of a prior of any family; each family has more (`priors.base`, `causal`, `denoising`)."""

    spec: Spec  # its `end` is the index that ends an image, for codes with lengths, else None
    family: str  # "masked", "causal" or "denoising"
    radix: tuple[int, ...]  # of a place's digits
    condition: nn.Module  # .classes, 0 without classes

    def embed(self, condition: Condition | Tensor | None, batch: int) -> Encoded: ...
    def check(self, codes: Codes, known: Tensor) -> None: ...


@dataclass(frozen=True)
class Step:
    """The state after one step of sampling.

    With masked and causal priors a revealed place keeps its code. With denoising priors any place but the given ones may change in every
    step, and none is final before the last.
    """

    index: int  # steps done, 1..total
    total: int
    codes: Codes  # digits at places that are not known are zero
    known: Tensor  # (batch, *grid) bool: places that hold a code by now; once True, always True
    entropy: Tensor  # (batch, *grid) relative entropy, from 0 to 1, of the places drawn in this step, zero elsewhere


@dataclass(frozen=True)
class SamplerSpec(Spec, abstract=True):
    """A description of a sampler; those of its fields that are in `settings.SETTINGS` are set by users and checked."""

    def __post_init__(self):
        check_settings(self)

    def build(self) -> Sampler:
        raise NotImplementedError


class Sampler(abc.ABC):
    """Completes codes: the one way to generate, inpaint and edit."""

    name: ClassVar[str]  # that users type
    words: ClassVar[str]  # a short description
    families: ClassVar[tuple[str, ...]]  # of priors that it samples from
    of_indices: ClassVar[bool] = False  # whether it needs a head with a logit for each codeword, or each value of a digit
    per_digit: ClassVar[bool] = False  # whether it takes `known` per digit

    def check(self, prior: PriorLike, codes: Codes, known: Tensor, generators: list[torch.Generator]) -> None:
        """ValueError where this sampler does not fit the prior, or codes, known or the number of generators do not."""
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

        codes (b, *grid, k): digits where `known` is True are kept; known (b, *grid) bool, or (b, *grid, k) where prior and sampler are
        `per_digit`. condition: of b images, or None. generators: one an image, so that an image does not depend on its batch.
        """
