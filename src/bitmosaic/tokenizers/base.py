"""The base class of tokenizers: signals of one medium (pictures, sound, clips) <-> Codes."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.folders import load_part
from bitmosaic.media import PICTURES, Medium
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class TokenizerSpec(Spec, abstract=True):
    """Base class of descriptions of tokenizers; each has a field `channels` of the signal and, for pictures, `image_size`, (height, width)
    in pixels.
    """

    @property
    def medium(self) -> Medium:
        """The kind of its signals."""
        return PICTURES

    @property
    def size(self) -> tuple[int, ...]:
        """The extent of a signal along each axis of its medium, such as (height, width) in pixels."""
        return tuple(self.image_size)

    @property
    def grid(self) -> tuple[int, ...]:
        """Places of a signal of `size`."""
        raise NotImplementedError

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        raise NotImplementedError

    @property
    def end(self) -> int | None:
        """For codes with lengths, of one digit a place: the value that ends a signal and fills all places after it; else None."""
        return None

    def build(self) -> Tokenizer:
        raise NotImplementedError


class Tokenizer(nn.Module, abc.ABC):
    """Signals (batch, channels, *size) in the medium's range <-> Codes; pictures (batch, channels, height, width) in [0, 1].

    Where places correspond to parts of the signal, each extent must be divisible by its factor.
    """

    spec: TokenizerSpec
    medium: Medium = PICTURES  # the kind of its signals
    axes: int = 2  # of its grid
    channels: int
    factor: int | None  # pixels along the side of a place, where places are squares of a picture; else None
    radix: tuple[int, ...]
    image_size: tuple[int, ...]  # (height, width) that it was trained for; for other media the extents of their axes
    decoding: tuple[str, ...] = ()  # names of the modules that decode alone, which may compute in another type than the others

    @property
    def size(self) -> tuple[int, ...]:
        """The extents of the signals that it was trained for."""
        return tuple(self.image_size)

    @property
    def factors(self) -> tuple[int, ...] | None:
        """Samples or pixels of a place along each axis; None where places do not correspond to parts of the signal."""
        return None if self.factor is None else (self.factor,) * len(self.size)

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU where it has none."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights; float32 where it has none."""
        return next((p.dtype for p in self.parameters()), torch.float32)

    def decode_in(self, dtype: torch.dtype) -> None:
        """Lets what decodes compute in another type, in the layout that is fast for it; codes are made as before."""
        for name in self.decoding:
            self.get_submodule(name).to(dtype=dtype, memory_format=torch.channels_last)

    @staticmethod
    def from_pretrained(folder: str | Path) -> Tokenizer:
        """The tokenizer in a folder of its own, such as `convert_part` writes, or PIPELINE/tokenizer. ValueError as from `load_part`."""
        return load_part(Path(folder).expanduser(), Tokenizer)

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Codes:
        """(b, channels, *size) -> Codes; pictures (b, channels, H, W) on a grid of (H / factor, W / factor)."""

    def draws(self, images: Tensor, generators: Sequence[torch.Generator]) -> list[Codes]:
        """Codes for training a prior: those of all images once for each generator; by default `encode`'s each time."""
        return [self.encode(images)] * len(generators)

    @abc.abstractmethod
    def decode(self, codes: Codes) -> Tensor:
        """Codes -> (b, channels, *size), clamped to the medium's range."""

    def check_signals(self, signals: Tensor) -> None:
        """ValueError where signals do not fit this tokenizer."""
        medium, axes = self.medium, len(self.size)
        if signals.ndim != 2 + axes or signals.shape[1] != self.channels or not signals.is_floating_point():
            wanted = f"floats in [{medium.low:g}, {medium.high:g}], (batch, {self.channels}, {', '.join(medium.axes)})"
            raise ValueError(f"{medium.plural}: got {signals.dtype} {tuple(signals.shape)}; want {wanted}")
        extents = tuple(signals.shape[2:])
        if self.factors is None:
            if extents != self.size:
                raise ValueError(f"{medium.plural}: got {medium.about(extents)}; this tokenizer takes {medium.about(self.size)}")
        elif any(extent % factor or not extent for extent, factor in zip(extents, self.factors, strict=True)):
            one = self.factors[0] if len(set(self.factors)) == 1 else self.factors
            raise ValueError(f"{medium.plural}: sides {extents} are not divisible by the tokenizer's factor {one}")

    def check_codes(self, codes: Codes) -> None:
        """ValueError where `codes` are another tokenizer's."""
        if codes.radix != self.radix or len(codes.grid) != self.axes:
            raise ValueError(f"codes: grid {codes.grid} with {len(codes.radix)} digits; want a {self.axes}-D grid with {len(self.radix)}")
