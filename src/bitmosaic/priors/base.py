"""The base classes of priors, distributions over codes given a condition, in three families, each with samplers of its own.

Masked priors predict any hidden places from the known ones (MaskGIT, arXiv 2202.04200; BiGR, 2410.14672), causal ones the next place in
raster order (LlamaGen, 2406.06525), denoising ones the clean codes of all places from noisy ones (D3PM, 2107.03006).
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bitmosaic.codes import MOST_BITS, Codes, described
from bitmosaic.conditions import ClassConditionSpec, Condition, ConditionEncoder, ConditionSpec, Encoded
from bitmosaic.folders import load_part
from bitmosaic.nets.cross_attention import CrossAttention
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.head import Head, HeadSpec
from bitmosaic.spec import Spec

Family = Literal["masked", "causal", "denoising"]
ConditionLike = Condition | Tensor | None  # conditions of a batch; tensors are class labels or weights


@dataclass(frozen=True)
class PriorSpec(Spec, abstract=True):
    """Base class of descriptions of priors; each has fields `grid`, places along each axis such as (rows, columns), and `condition`."""

    @property
    def end(self) -> int | None:
        """For priors over codes with lengths, the index that ends an image and follows itself; else None."""
        return None

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        raise NotImplementedError

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> PriorSpec:
        """This prior for other codes and conditions; `end` as of `TokenizerSpec`, which a prior without lengths learns like any value.

        ValueError for digits that it cannot model.
        """
        raise NotImplementedError

    def build(self) -> Prior:
        raise NotImplementedError


@dataclass(frozen=True)
class BinaryPriorSpec(PriorSpec, abstract=True):
    """Base class of descriptions of priors over bits: sizes, a condition, a head."""

    grid: tuple[int, ...] = (4, 4)  # places along each axis, such as rows and columns
    bits: int = 8  # K, bits of a place
    depth: int = 2  # blocks
    heads: int = 2
    width: int = 16  # D; a head's width must be divisible by 4
    condition: ConditionSpec = ClassConditionSpec()
    head: HeadSpec = BernoulliDiffusionSpec()

    def __post_init__(self):
        check_grid(self.grid)
        if min(*self.grid, self.bits, self.depth, self.heads, self.width) < 1:
            raise ValueError("grid, bits, depth, heads and width must be positive")
        if self.bits > MOST_BITS:
            raise ValueError(f"bits: got {self.bits}; want at most {MOST_BITS} a place")
        check_rotary(self.grid, self.width, self.heads)

    @property
    def radix(self) -> tuple[int, ...]:
        return (2,) * self.bits

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> PriorSpec:
        if set(radix) != {2}:
            raise ValueError(f"prior: a {type(self).__name__} knows bits, and these codes hold {described(radix)}")
        return replace(self, grid=grid, bits=len(radix), condition=condition)


@dataclass(frozen=True)
class IndexPriorSpec(PriorSpec, abstract=True):
    """Base class of descriptions of priors over codebook indices: sizes and a condition."""

    grid: tuple[int, ...] = (4, 4)  # places along each axis, such as rows and columns
    codewords: int = 24  # V
    depth: int = 2  # blocks
    heads: int = 2
    width: int = 16  # D
    condition: ConditionSpec = ClassConditionSpec()

    def __post_init__(self):
        check_grid(self.grid)
        if min(*self.grid, self.depth, self.heads, self.width) < 1 or not 2 <= self.codewords <= 2**24:
            raise ValueError(f"grid, depth, heads and width must be positive, codewords from 2 to {2**24:,}; got {self.codewords}")

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> PriorSpec:
        if len(radix) != 1:
            raise ValueError(f"prior: a {type(self).__name__} knows indices of one codebook, and these codes hold {described(radix)}")
        return replace(self, grid=grid, codewords=radix[0], condition=condition)


class Prior(nn.Module, abc.ABC):
    """A network over the places of a grid; `family` says what it predicts."""

    family: ClassVar[Family]
    per_digit: ClassVar[bool] = False  # whether `known` may be per digit, (b, *grid, K)
    spec: PriorSpec
    grid: tuple[int, ...]
    radix: tuple[int, ...]
    condition: ConditionEncoder
    blocks: nn.ModuleList
    norm: nn.Module  # after the last block

    @staticmethod
    def from_pretrained(folder: str | Path) -> Prior:
        """The prior in a folder of its own, such as `convert_part` writes, or PIPELINE/prior. ValueError as from `load_part`."""
        return load_part(Path(folder).expanduser(), Prior)

    @abc.abstractmethod
    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """The training loss, a scalar; conditions of b images or None, each replaced by the null with probability `class_dropout`."""

    @abc.abstractmethod
    def whole(self, digits: Tensor, encoded: Encoded | Tensor) -> Iterator[Tensor]:
        """The residual stream of completely known images after each block in turn, (b, 1 + N, D); digits (b, N, K)."""

    def embed(self, condition: ConditionLike, batch: int) -> Encoded:
        """Encoded conditions of `batch` images: values, None for the null, or tensors of class labels (b,) or weights (b, classes)."""
        return self.condition(condition, batch)

    def check(self, codes: Codes, known: Tensor | None = None) -> None:
        """ValueError where codes, or known, bool (b, *grid) or per digit (b, *grid, K), do not fit this prior."""
        if codes.grid != self.grid or codes.radix != self.radix:
            raise ValueError(
                f"codes: grid {codes.grid}, {described(codes.radix)}; this prior has {self.grid}, {described(self.radix)}"
            )
        if known is None:
            return
        shape = tuple(codes.digits.shape)
        if known.dtype != torch.bool or known.shape not in (shape, shape[:-1]):
            raise ValueError(f"known: got {known.dtype} {tuple(known.shape)}; want bool {shape[:-1]}{f' or {shape}' * self.per_digit}")
        if known.shape == shape and not self.per_digit:
            raise ValueError(f"known: got one mark a digit, {shape}; this prior knows whole places, so want bool {shape[:-1]}")

    def features(self, codes: Codes, condition: ConditionLike, layer: int) -> Tensor:
        """The residual stream after block `layer`, from 0, of completely known images, (b, N, D). ValueError for another layer."""
        return self.intermediates(codes, condition, [layer])[0]

    def intermediates(self, codes: Codes, condition: ConditionLike, layers: Sequence[int]) -> list[Tensor]:
        """`features` of several layers from one pass, in the order of `layers`."""
        wrong = [layer for layer in layers if not 0 <= layer < len(self.blocks)]
        if wrong or not layers:
            raise ValueError(f"layer: got {', '.join(map(str, wrong)) or 'none'}; this prior has layers 0 to {len(self.blocks) - 1}")
        self.check(codes)
        streams = islice(self.whole(codes.flat(), self.embed(condition, len(codes))), max(layers) + 1)
        found = {layer: x[:, 1:] for layer, x in enumerate(streams) if layer in layers}
        return [found[layer] for layer in layers]


class HeadedPrior(Prior):
    """A masked or causal prior: a backbone that gives a context vector for each place, and a head that draws its digits from it."""

    head: Head

    @abc.abstractmethod
    def context(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor) -> Tensor:
        """The head's condition for every place, (b, N, D); digits (b, N, K), encoded as of `embed`, or vectors (b, D); known (b, N), or
        (b, N, K) where the prior is `per_digit`.

        Digits at hidden places have no influence.
        """


class MaskedPrior(HeadedPrior):
    """p(codes of hidden places | codes of known places, condition): any places may be hidden."""

    family = "masked"


def check_grid(grid: tuple[int, ...]) -> None:
    """ValueError unless a grid has at least one axis and at least one place along each."""
    if min(grid, default=0) < 1:
        raise ValueError(f"grid: got {grid}; want places along one axis or more, all positive")


def check_rotary(grid: tuple[int, ...], width: int, heads: int) -> None:
    """ValueError unless rotary embedding fits attention heads of width / heads: pairs of numbers, equally many for both axes of a 2-D grid,
    and at least one for each axis of any grid.
    """
    axes, each = len(grid), 4 if len(grid) == 2 else 2
    if width % (each * heads):
        raise ValueError(f"width {width} is not divisible by {each} x {heads} heads, which {axes}-D rotary embedding needs")
    if width < 2 * axes * heads:
        raise ValueError(f"width {width} is too small: {axes}-D rotary embedding needs {2 * axes} numbers in each of {heads} heads")


def token_readers(condition: ConditionSpec, width: int, heads: int, depth: int) -> nn.ModuleList | None:
    """Cross-attention to the tokens of a condition, one module a block; None where the condition has no tokens."""
    return nn.ModuleList(CrossAttention(width, heads) for _ in range(depth)) if condition.has_tokens else None


def start(module: nn.Module) -> None:
    """Linear weights from N(0, 0.02), biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
