"""What a medium is: the axes of its signals, the range of their values, files in and out, a preview, and a measure of likeness."""

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

    A set of signals keeps them as `stored`, of which `floats` makes floats and `integers` what is nearest.
    """

    plural: ClassVar[str]  # by which messages call its signals
    value: ClassVar[str] = "pixel"  # by which they call what a signal has one of at each point
    axes: ClassVar[tuple[str, ...]]  # such as ("height", "width")
    endings: ClassVar[tuple[str, ...]]  # of files that are read
    ending: ClassVar[str]  # of the file that is written
    low: ClassVar[float] = 0.0  # the least value of a signal
    high: ClassVar[float] = 1.0
    stored: ClassVar[torch.dtype] = torch.uint8
    output: ClassVar[str] = "np"  # what signals come back as where nobody says
    outputs: ClassVar[tuple[str, ...]] = ("np", "pt")

    @abc.abstractmethod
    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        """All that a file holds, cut into signals of `size`, each `stored` (channels, *size); UnreadableSignal where it cannot be read."""

    @abc.abstractmethod
    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        """One signal `stored` (channels, *size) of a file or of values, floats in the medium's range or `stored`.

        fit: exact refuses one of another size by a ValueError, crop takes its middle and, where it is shorter, fills what is missing.
        """

    @abc.abstractmethod
    def to_output(self, signals: Tensor, output_type: str | None = None) -> Any:
        """Signals (n, C, *size) in one of `outputs`; None: `output`. "pt": as they are, on the CPU."""

    @abc.abstractmethod
    def write(self, signal: Tensor, path: Path, **about: Any) -> None:
        """One signal (C, *size) as a file, `about` it in the file where its format has a place for that; whole or not at all."""

    def kept(self, about: dict[str, str]) -> dict[str, str]:
        """Of what is told about a file, as much as its format keeps: what `notes` gives back."""
        return about

    @abc.abstractmethod
    def notes(self, path: Path) -> dict[str, str]:
        """What `write` was told about a file. OSError, SyntaxError or ValueError where it is no such file."""

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
        """Floats, clamped, as stored values; stored ones stay. ValueError for NaN."""
        if signals.dtype == self.stored:
            return signals
        if not signals.is_floating_point():
            raise ValueError(f"signals: got {signals.dtype}; give floats in [{self.low:g}, {self.high:g}] or {self.stored}")
        if signals.isnan().any():
            raise ValueError("signals: got NaN; look for where it arose")
        return self.floats_to_stored(signals.float().clamp(self.low, self.high))

    def floats_to_stored(self, signals: Tensor) -> Tensor:
        """Floats in range to the nearest stored values."""
        return (signals * 255).round().to(torch.uint8)

    def several(self, values: Any) -> bool:
        """Whether values are several signals: a list of them, or a batch, rather than one."""
        batch = isinstance(values, Tensor | np.ndarray) and values.ndim == 2 + len(self.axes)
        return batch or isinstance(values, list | tuple)

    def check_output(self, output_type: str | None, batch_size: int = 1) -> None:
        """ValueError unless there is such a form, and a batch of at least one signal."""
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
        """Peak signal-to-noise ratio of each, dB (n,), of stored signals (n, C, *size); one value off by one is the best there is."""
        whole = torch.iinfo(self.stored).max - torch.iinfo(self.stored).min
        error = (given.double() - made.double()).square().flatten(1).mean(1)
        return 10 * torch.log10(whole**2 / error.clamp(min=1 / given[0].numel()))


def comment_of(about: dict[str, Any]) -> str:
    """What is told about a file, as a comment in it."""
    return json.dumps({name: str(value) for name, value in about.items()}, ensure_ascii=False)


def notes_of(comment: str) -> dict[str, str]:
    """The inverse of `comment_of`; ValueError where a comment is none of ours."""
    found = parse_json(comment)
    if not isinstance(found, dict):
        raise ValueError("the comment is none of ours")
    return {str(name): str(value) for name, value in found.items()}


def middle(signal: Tensor, size: tuple[int, ...]) -> Tensor:
    """The middle of a signal (C, *any), and zeros around it where it is shorter."""
    for axis, wanted in enumerate(size, 1):
        there = signal.shape[axis]
        if there > wanted:
            signal = signal.narrow(axis, (there - wanted) // 2, wanted)
        elif there < wanted:
            before = torch.zeros_like(signal.narrow(axis, 0, 1)).repeat_interleave((wanted - there) // 2, axis)
            after = torch.zeros_like(signal.narrow(axis, 0, 1)).repeat_interleave(wanted - there - (wanted - there) // 2, axis)
            signal = torch.cat([before, signal, after], axis)
    return signal
