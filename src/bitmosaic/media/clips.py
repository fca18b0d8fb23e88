"""Clips: films without sound, (channels, frames, height, width) in [0, 1], in animated GIF, WebP or PNG files.

Frames are taken in order, whatever their durations; only in files written here does a longer one stand for several equal frames, which
Pillow merges. Each frame is cropped and scaled like a picture.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageSequence
from PIL.GifImagePlugin import GifImageFile
from torch import Tensor

from bitmosaic.images.fit import check_exact
from bitmosaic.images.read import picture_of, pixels_of
from bitmosaic.images.write import animation, to_output, to_pil, to_uint8
from bitmosaic.media.base import Medium, UnreadableSignal, comment_of, notes_of

LONGEST, MOST = 10_000, 2**28  # frames of a file at most, and pixels of all of them: two minutes of 320 x 240 at 25 frames a second


@dataclass(frozen=True)
class Clips(Medium):
    """Short films, grey or in colour."""

    plural: ClassVar[str] = "clips"
    axes: ClassVar[tuple[str, ...]] = ("frames", "height", "width")
    endings: ClassVar[tuple[str, ...]] = (".gif", ".webp", ".apng", ".png")
    ending: ClassVar[str] = ".gif"
    output: ClassVar[str] = "pil"
    outputs: ClassVar[tuple[str, ...]] = ("pil", "np", "pt")

    rate: int = 10  # frames a second of files that are written

    def __post_init__(self):
        if not 1 <= self.rate <= 100:
            raise ValueError(f"rate: got {self.rate}; want frames a second, from 1 to 100")

    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        """As `Medium.parts`: consecutive clips without overlap; remaining frames are dropped, and a film too short repeats its last
        frame.
        """
        frames = self._frames(file, use=lambda picture: pixels_of(picture, size[1:], channels))
        frames += [frames[-1]] * (size[0] - len(frames))
        whole = torch.stack(frames, 1)
        return [part.contiguous() for part in whole.split(size[0], 1) if part.shape[1] == size[0]]

    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        """As `Medium.fitted`, of a file, a list of pictures, arrays (F, H, W[, C]) uint8 or in [0, 1], or tensors (C, F, H, W)."""
        if isinstance(value, str | os.PathLike):
            pictures, name = self._frames(value, background), os.fspath(value)
        else:
            if isinstance(value, Tensor):
                if value.ndim != 4 or not value.shape[1]:
                    raise ValueError(f"signal: got shape {tuple(value.shape)}; give (channels, frames, height, width)")
                value = list(value.movedim(1, 0))
            if not isinstance(value, list | tuple | np.ndarray) or not len(value):
                raise ValueError(f"signal: got {type(value).__name__}; give a file, a list of pictures, or arrays (F, H, W[, C])")
            pictures, name = [picture_of(frame, background) for frame in value], ""
        if fit == "exact":
            if len(pictures) != size[0]:
                what = f"{name} has" if name else "got"
                raise ValueError(f"signal: {what} {len(pictures)} frames; this pipeline works on {size[0]}. fit 'crop' takes the middle")
            for picture in pictures:
                check_exact(picture, size[1:], channels, name)
        first = max(0, (len(pictures) - size[0]) // 2)
        chosen = pictures[first : first + size[0]]
        chosen += [chosen[-1]] * (size[0] - len(chosen))
        return torch.stack([pixels_of(picture, size[1:], channels) for picture in chosen], 1)

    def several(self, values: Any) -> bool:
        """A list of pictures is one clip."""
        one = isinstance(values, list | tuple) and bool(values) and all(isinstance(value, Image.Image) for value in values)
        return super().several(values) and not one

    def to_output(self, signals: Tensor, output_type: str | None = None) -> Any:
        """Clips (n, C, F, H, W) as "pil" lists of frames, "np" (n, F, H, W, C) uint8, or "pt"."""
        self.check_output(output_type)
        if output_type == "pt":
            return signals.cpu()
        if output_type == "np":
            return to_uint8(signals.cpu()).movedim(1, -1).numpy()
        return [to_output(clip.movedim(1, 0), "pil") for clip in signals]

    def write(self, signal: Tensor, path: Path, **about: Any) -> None:
        """As `Medium.write`: an animation that loops, with notes in the comment of a GIF."""
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [to_pil(frame) for frame in signal.movedim(1, 0)]
        animation(frames, path, 1 / self.rate, 1 / self.rate, comment_of(about))

    def notes(self, path: Path) -> dict[str, str]:
        with path.open("rb") as file:
            try:
                comment = GifImageFile(file).info.get("comment", b"").decode()
            except Exception as error:  # decoders raise many kinds for a broken file
                raise ValueError(f"{path}: {' '.join(str(error).split())[:200]}") from error
        return notes_of(comment)

    def preview(self, signals: Tensor) -> Tensor:
        """Frames side by side, (n, C, H, F W)."""
        return signals.movedim(2, 3).flatten(3, 4)

    def about(self, size: tuple[int, ...]) -> str:
        return f"{size[0]} frames of {size[1]}x{size[2]} pixels"

    def _frames(
        self, file: str | os.PathLike, background: str = "white", use: Callable[[Image.Image], Any] = lambda picture: picture
    ) -> list[Any]:
        """What `use` makes of the frames of a file, in mode L or RGB; in files of `Clips.write`, one that is shown longer counts as
        several equal frames.
        """
        if not os.path.isfile(file):
            raise UnreadableSignal(str(file), "there is no such file", gone=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)  # as for pictures: more than 89 million pixels
                with Image.open(file) as picture:
                    count, found, ours = getattr(picture, "n_frames", 1), [], _ours(picture)
                    pixels = count * picture.width * picture.height
                    for frame in ImageSequence.Iterator(picture) if count <= LONGEST and pixels <= MOST else ():
                        times = max(1, round(frame.info.get("duration", 0) * self.rate / 1000)) if ours else 1
                        found += [use(picture_of(frame.copy(), background))] * min(times, LONGEST + 1 - len(found))
        except Exception as error:  # decoders raise many kinds for a broken file
            raise UnreadableSignal(str(file), " ".join(str(error).split())[:200] or type(error).__name__) from error
        if count > LONGEST or len(found) > LONGEST:
            raise UnreadableSignal(str(file), f"it has more than {LONGEST:,} frames")
        if pixels > MOST:
            raise UnreadableSignal(str(file), f"its frames have more than {MOST:,} pixels in all; scale it down, or cut it")
        return found


def _ours(picture: Image.Image) -> bool:
    """Whether a file is one that `Clips.write` made."""
    comment = picture.info.get("comment", b"")
    try:
        notes_of(comment.decode())
    except (AttributeError, ValueError):
        return False
    return picture.format == "GIF"
