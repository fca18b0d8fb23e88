"""Clips: films without sound, (channels, frames, height, width) in [0, 1], in animated GIF, WebP or PNG files.

Frames are taken in turn, whatever their times (of files written here a longer one stands for several equal frames, which Pillow joins);
each is cropped and scaled as a picture is.
"""

from __future__ import annotations

import os
import warnings
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

LONGEST = 10_000  # frames of a file


@dataclass(frozen=True)
class Clips(Medium):
    """Short films, grey or in colour."""

    plural: ClassVar[str] = "clips"
    axes: ClassVar[tuple[str, ...]] = ("frames", "height", "width")
    endings: ClassVar[tuple[str, ...]] = (".gif", ".webp", ".apng", ".png")
    ending: ClassVar[str] = ".gif"
    output: ClassVar[str] = "pil"
    outputs: ClassVar[tuple[str, ...]] = ("pil", "np", "pt")

    rate: int = 10  # frames a second, of files that are written

    def __post_init__(self):
        if not 1 <= self.rate <= 100:
            raise ValueError(f"rate: got {self.rate}; want frames a second, from 1 to 100")

    def parts(self, file: str | Path, size: tuple[int, ...], channels: int) -> list[Tensor]:
        """As many frames one after another as a clip has, and again; what is left over at the end is not used. Too few hold the last."""
        frames = [pixels_of(picture, size[1:], channels) for picture in self._frames(file)]
        frames += [frames[-1]] * (size[0] - len(frames))
        whole = torch.stack(frames, 1)
        return [part.contiguous() for part in whole.split(size[0], 1) if part.shape[1] == size[0]]

    def fitted(self, value: Any, size: tuple[int, ...], channels: int, fit: str = "exact", background: str = "white") -> Tensor:
        """Of a file, a list of pictures, arrays (F, H, W[, C]) uint8 or in [0, 1], or tensors (C, F, H, W)."""
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
        """An animation that loops; a GIF's comment holds what is `about` it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [to_pil(frame) for frame in signal.movedim(1, 0)]
        animation(frames, path, 1 / self.rate, 1 / self.rate, comment_of(about))

    def notes(self, path: Path) -> dict[str, str]:
        with path.open("rb") as file:
            return notes_of(GifImageFile(file).info.get("comment", b"").decode())

    def preview(self, signals: Tensor) -> Tensor:
        """Frames side by side, (n, C, H, F W)."""
        return signals.movedim(2, 3).flatten(3, 4)

    def about(self, size: tuple[int, ...]) -> str:
        return f"{size[0]} frames of {size[1]}x{size[2]} pixels"

    def _frames(self, file: str | os.PathLike, background: str = "white") -> list[Image.Image]:
        """The frames of a file, in mode L or RGB; of one that we wrote equal ones too, which Pillow writes as one that stays longer."""
        if not os.path.isfile(file):
            raise UnreadableSignal(str(file), "there is no such file", gone=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(file) as picture:
                    count, found, ours = getattr(picture, "n_frames", 1), [], _ours(picture)
                    for frame in ImageSequence.Iterator(picture) if count <= LONGEST else ():
                        times = max(1, round(frame.info.get("duration", 0) * self.rate / 1000)) if ours else 1
                        found += [picture_of(frame.copy(), background)] * min(times, LONGEST + 1 - len(found))
        except Exception as error:  # whatever a decoder says of a broken file
            raise UnreadableSignal(str(file), " ".join(str(error).split())[:200] or type(error).__name__) from error
        if count > LONGEST or len(found) > LONGEST:
            raise UnreadableSignal(str(file), f"it has more than {LONGEST:,} frames")
        return found


def _ours(picture: Image.Image) -> bool:
    """Whether a file is one that `Clips.write` made."""
    comment = picture.info.get("comment", b"")
    try:
        notes_of(comment.decode())
    except (AttributeError, ValueError):
        return False
    return picture.format == "GIF"
