"""Pictures of another size or colour than a pipeline's: one rule for all input. Training data is always cropped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from torch import Tensor

from bitmosaic.names import plain

from .formats import plug_in
from .read import picture_of, pixels_of

Fit = Literal["exact", "crop"]
COLOURED = 24  # of 255 between the channels of a pixel: more than what JPEG makes of grey


def fitted(image: Any, size: tuple[int, int], channels: int, fit: Fit = "exact", background: str = "white") -> Tensor:
    """A picture, as `read_image` takes it, at `size` (height, width) and with so many channels, uint8 (channels, height, width).

    fit: exact refuses pictures of another size, and those in colour where channels is 1; crop takes the centre, scales it, and makes
    grey of colour. ValueError says what came and what would do.
    """
    if fit not in get_args(Fit):
        raise ValueError(f"fit: got {fit!r}; want 'exact' or 'crop'")
    picture = picture_of(image, background)
    if fit == "exact":
        check_exact(picture, size, channels, os.fspath(image) if isinstance(image, str | os.PathLike) else "")
    return pixels_of(picture, size, channels)


def check_exact(picture: Image.Image, size: tuple[int, int], channels: int, name: str = "") -> None:
    """ValueError unless a picture in mode L or RGB is of `size` (height, width) and, where channels is 1, without colour."""
    height, width = size
    coloured = channels == 1 and has_colour(picture)
    if picture.size == (width, height) and not coloured:
        return
    ours, theirs = f"{picture.width} x {picture.height} pixels{' in colour' if coloured else ''}", f"{width} x {height}"
    what = f"{name} has" if name else "got"
    takes = "takes the centre and scales it" if picture.size != (width, height) else "makes grey of it"
    works = f"this pipeline works on {theirs}{' in grey' if coloured else ''}"
    raise ValueError(plain(f"image: {what} {ours}; {works}. fit 'crop' {takes}"))


def has_colour(picture: Image.Image) -> bool:
    """Whether a picture in mode L or RGB has pixels that are clearly not grey."""
    if picture.mode == "L":
        return False
    pixels = np.asarray(picture)
    return bool((pixels.max(-1).astype(np.int16) - pixels.min(-1) > COLOURED).any())


def check_sizes(files: Sequence[os.PathLike | str], size: tuple[int, int]) -> None:
    """ValueError that counts the files, by their headers alone, that are of another size than (height, width): before any is worked on."""
    plug_in()
    others = [(file, found) for file in files if (found := _size_of(file)) is not None and found not in (size, size[::-1])]
    if others:
        (file, (height, width)), ours = others[0], f"{size[1]} x {size[0]}"
        many = f"{len(others):,} of {len(files):,} pictures are of another size than this pipeline's {ours}, such as"
        many = many if len(files) > 1 else f"this pipeline works on {ours};"
        raise ValueError(plain(f"images: {many} {file} with {width} x {height} pixels; --fit crop takes the centre of each and scales it"))


def _size_of(file: os.PathLike | str) -> tuple[int, int] | None:
    """(height, width) as the header says, before it is turned upright; None for what is no picture that can be read."""
    if not os.path.isfile(file):
        return None
    try:
        with Image.open(file) as picture:
            return picture.height, picture.width
    except Exception:  # whatever a decoder says of a broken file: it is named when it is read
        return None
