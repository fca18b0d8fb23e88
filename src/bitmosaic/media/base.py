"""The base class of media: axes and range of signals, reading and writing of files, a preview, and PSNR."""

from __future__ import annotations

import abc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitmosaic.folders import parse_json
from bitmosaic.images.read import UnreadableImage
from bitmosaic.spec import Spec


class UnreadableSignal(UnreadableImage):
    """A file that holds no signal we can read."""

    def __str__(self) -> str:
        return f"signal: cannot read {self.name}: {self.reason}"


@dataclass(frozen=True)
class Medium(Spec, abstract=True):
    """A kind of signal: floats (channels, *size) in [low, high], one axis of `size` for each of `axes`.

    Data sets keep signals as integers of dtype `stored`; `floats` and `integers` convert between both.
    """

    plural: ClassVar[str]  # what messages call its signals
    value: ClassVar[str] = "pixel"  # what messages call one value of a signal
    axes: ClassVar[tuple[str, ...]]  # such as ("height", "width")
    endings: ClassVar[tuple[str, ...]]  # of files that can be read
    ending: ClassVar[str]  # of files that are written
    low: ClassVar[float] = 0.0  # the least value of a signal
    high: ClassVar[float] = 1.0
    stored: ClassVar[torch.dtype] = torch.uint8
    output: ClassVar[str] = "np"  # the default output_type
    outputs: ClassVar[tuple[str, ...]] = ("np", "pt")

    @abc.abstractmethod
    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        """A file cut into signals of `size`, each `stored` (channels, *size). UnreadableSignal where it cannot be read."""

    @abc.abstractmethod
    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        """One signal, `stored` (channels, *size), from a file, or from values: floats in the medium's range, or `stored`.

        fit: "exact" raises ValueError for another size; "crop" takes the middle, and pads where the signal is shorter.
        """

    @abc.abstractmethod
    def to_output(self, signals: Tensor, output_type: str | None = None) -> Any:
        """Signals (n, C, *size) in one of the forms `outputs`; None: `output`. "pt": the tensor itself, on the CPU."""

    @abc.abstractmethod
    def write(self, signal: Tensor, path: Path, **about: Any) -> None:
        """Writes one signal (C, *size) as a file, whole or not at all; `about`: notes kept in the file where its format can hold them."""

    def kept(self, about: dict[str, str]) -> dict[str, str]:
        """As much of the notes `about` as the format holds, which is what `notes` will return."""
        return about

    @abc.abstractmethod
    def notes(self, path: Path) -> dict[str, str]:
        """The notes that `write` kept in a file. OSError, SyntaxError or ValueError where it is no such file."""

    @abc.abstractmethod
    def preview(self, signals: Tensor) -> Tensor:
        """Signals (n, C, *size) as pictures (n, 1 or 3, H, W) in [0, 1]."""

    @abc.abstractmethod
    def about(self, size: tuple[int, ...]) -> str:
        """A size in words, such as "0.25 s at 8,000 Hz"."""

    def floats(self, stored: Tensor) -> Tensor:
        """Stored values as floats in [low, high]."""
        return stored.float() / 255

    def integers(self, signals: Tensor) -> Tensor:
        """Floats, clamped to the range, as stored values; stored values stay. ValueError for NaN and for other dtypes."""
        if signals.dtype == self.stored:
            return signals
        if not signals.is_floating_point():
            raise ValueError(f"signals: got {signals.dtype}; give floats in [{self.low:g}, {self.high:g}] or {self.stored}")
        if signals.isnan().any():
            raise ValueError("signals: got NaN; give finite numbers")
        return self.floats_to_stored(signals.float().clamp(self.low, self.high))

    def floats_to_stored(self, signals: Tensor) -> Tensor:
        """Floats in [low, high] rounded to stored values."""
        return (signals * 255).round().to(torch.uint8)

    def several(self, values: Any) -> bool:
        """Whether values are several signals, in a list or a batch, rather than one."""
        batch = isinstance(values, Tensor | np.ndarray) and values.ndim == 2 + len(self.axes)
        return batch or isinstance(values, list | tuple)

    def check_output(self, output_type: str | None, batch_size: int = 1) -> None:
        """ValueError unless output_type is one of `outputs` or None, and batch_size at least 1."""
        if output_type is not None and output_type not in self.outputs:
            wanted = ", ".join(map(repr, self.outputs[:-1])) + f" or {self.outputs[-1]!r}"
            raise ValueError(f"output_type: got {output_type!r}; want {wanted}")
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}; want at least 1")

    def check_size(self, size: tuple[int, ...]) -> None:
        """ValueError unless a size has a positive extent for each axis."""
        if len(size) != len(self.axes) or min(size, default=0) < 1:
            raise ValueError(f"size: got {size}; {self.plural} have {' x '.join(self.axes)}")

    def psnr(self, given: Tensor, made: Tensor) -> Tensor:
        """PSNR in dB, (n,), of stored signals (n, C, *size); of equal signals as if one value were off by one."""
        whole = torch.iinfo(self.stored).max - torch.iinfo(self.stored).min
        error = (given.double() - made.double()).square().flatten(1).mean(1)
        return 10 * torch.log10(whole**2 / error.clamp(min=1 / given[0].numel()))


def comment_of(about: dict[str, Any]) -> str:
    """Notes about a file as the text of a comment in it."""
    return json.dumps({name: str(value) for name, value in about.items()}, ensure_ascii=False)


def notes_of(comment: str) -> dict[str, str]:
    """The inverse of `comment_of`; ValueError for any other comment."""
    found = parse_json(comment)
    if not isinstance(found, dict):
        raise ValueError("the comment was not written by bitmosaic")
    return {str(name): str(value) for name, value in found.items()}


def middle(signal: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle of a signal (C, *any) as (C, *size), with zeros around it where it is shorter."""
    for axis, wanted in enumerate(size, 1):
        there = signal.shape[axis]
        if there > wanted:
            signal = signal.narrow(axis, (there - wanted) // 2, wanted)
        elif there < wanted:
            before = torch.zeros_like(signal.narrow(axis, 0, 1)).repeat_interleave((wanted - there) // 2, axis)
            after = torch.zeros_like(signal.narrow(axis, 0, 1)).repeat_interleave(wanted - there - (wanted - there) // 2, axis)
            signal = torch.cat([before, signal, after], axis)
    return signal
