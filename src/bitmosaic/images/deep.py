"""Pictures of more than 8 bits to 8 bits, scaled by the bits that their values use: 12-bit scans come in files of 16 and 32 bits."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

BITS = (8, 10, 12, 14, 16)  # depths that scanners and cameras produce
_SWAPPED = {  # the raw mode with swapped bytes: Pillow keeps one byte of two, so by both modes we get both
    f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}  # fmt: skip


def top_of(high: float) -> int:
    """The white of integers of which the highest is `high`: 2^b - 1 for the fewest of 8, 10, 12, 14 and 16 bits that hold it."""
    return next((2**bits - 1 for bits in BITS if high < 2**bits), 2**16 - 1)


def eight_bits(image: Image.Image, ground: int) -> Image.Image:
    """Modes I and I;16 hold integers (see `top_of`), mode F holds [0, 1] or [0, 255]; each becomes L, `ground` where it is transparent.

    ValueError for values below 0 or above 65535, or of floats above 255, or somewhat above 1.
    """
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    top = top_of(high) if image.mode != "F" else 1 if high <= 1 else 255
    between = image.mode == "F" and 1 < high < 2  # black in [0, 255]: [0, 1] that was sharpened or scaled
    if not (low >= 0 and high <= top) or between:  # also true of NaN
        wanted = "[0, 1] or [0, 255]" if image.mode == "F" else "[0, 65535]"
        raise ValueError(f"values from {low:g} to {high:g} in mode {image.mode}; they should lie in {wanted}")
    grey = np.rint(values * (255 / top)).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = ground
    return Image.fromarray(grey)


def deep_colour(source: Any, picture: Image.Image, tile: tuple | None) -> Image.Image:
    """A loaded picture, or in its place one of the whole values where 16 bits a channel were cut to their upper 8 and these are all dark.

    source: a path or a stream that it was opened from; tile: what Pillow said before it was loaded, None where there is no source.
    """
    raw = _raw(tile)
    swapped = "RGBA" if raw == "LA;16B" else _SWAPPED.get(raw)  # Pillow unpacks LA to RGBA: its four bytes can be had as they are
    if swapped is None:
        return picture
    upper = np.asarray(picture).astype(np.uint16)
    if upper[..., :3].max() >= 64:  # of 256: more than 14 bits
        return picture
    if isinstance(source, BytesIO):
        source.seek(0)
    with Image.open(source) as again:
        again.tile = [_with(tile, swapped) for tile in again.tile]
        lower = np.asarray(again).astype(np.uint16)
    values = lower[..., ::2] * 256 + lower[..., 1::2] if raw == "LA;16B" else upper * 256 + lower
    colour, alpha = (values[..., :-1], values[..., -1:]) if values.shape[-1] in (2, 4) else (values, values[..., :0])
    top = top_of(colour.max())
    opaque = top if alpha.max(initial=0) <= top else 65535
    scaled = np.concatenate([np.rint(colour * (255 / top)), np.rint(alpha * (255 / opaque))], -1)
    made = Image.fromarray(scaled.astype(np.uint8))
    made.info = dict(picture.info)
    return made


def _raw(tile: tuple | None) -> str:
    """The raw mode of a tile, such as "RGB;16B"; empty where there is none."""
    arguments = tile[3] if tile else None
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _with(tile: tuple, raw: str) -> tuple:
    """A tile with another raw mode."""
    arguments = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
    return type(tile)(*tile[:3], arguments) if hasattr(tile, "_fields") else (*tile[:3], arguments)  # plain in older Pillows
