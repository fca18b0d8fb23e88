"""Masks: the pixels to repaint, the places of the code grid that these hide, and a smooth continuation of the known pixels.

White is repainted, as in diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .fit import has_colour
from .read import cover, picture_of, pixels_of


def read_mask(mask, size: tuple[int, int], factor: int) -> Tensor:
    """Which pixels of an image of `size` (height, width) are to be repainted, (height, width) bool.

    mask: a picture of that size without transparency or colours, white (128 of 255 and more) repainted: a path, bytes, a PIL image, or an
    array or tensor (H, W), (H, W, 1) or (1, H, W), uint8, float in [0, 1] or bool; a box (left, top, right,
    bottom) in pixels, right and bottom not included; or places [(row, column), ...] of the code grid, each factor x factor pixels.
    ValueError for a picture of another size or without white, a box or a place outside the image, and what is none of these.
    """
    if isinstance(mask, list | tuple):
        return _from_numbers(mask, size, factor)
    try:
        return _from_picture(mask, size)
    except ValueError as error:
        raise ValueError(f"mask: {str(error).removeprefix('image: ')}") from error


def _of_size(found: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(found.shape) != tuple(size):
        raise ValueError(f"got {found.shape[1]} x {found.shape[0]} pixels for an image of {size[1]} x {size[0]}; give one of that size")
    return found


def _from_picture(mask, size: tuple[int, int]) -> Tensor:
    """White pixels of anything `read_image` takes, or True ones of an array. ValueError where none is white, or it does not say."""
    if isinstance(mask, np.ndarray | Tensor):
        array = np.ascontiguousarray(torch.as_tensor(mask).cpu().numpy() if isinstance(mask, Tensor) else mask)
        array = array.reshape([n for n in array.shape if n != 1]) if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]) else array
        if array.dtype == np.bool_ and array.ndim == 2:
            return _of_size(torch.from_numpy(array.copy()), size)
        if array.dtype == np.uint8 and array.max(initial=0) == 1:
            raise ValueError("got whole numbers of 0 and 1; give 0 and 255, or booleans")
        mask = mask if isinstance(mask, Tensor) and array.ndim == 3 else array
    try:
        picture = picture_of(mask, background=None)
    except ValueError as error:
        if str(error).endswith("it has transparency"):
            what = "it has transparency, which does not say what is repainted; give one without, white where it is repainted"
            raise ValueError(what) from error
        raise
    if has_colour(picture):
        said = f"it has colours, such as {_most_coloured(picture)}, as maps of labels have"
        raise ValueError(f"{said}; give one of black and white, white where it is repainted")
    grey = _of_size(pixels_of(picture, None, 1)[0], size)
    if not (grey >= 128).any():
        values = grey.unique().tolist()
        held = ", ".join(map(str, values)) if len(values) < 6 else f"{values[0]} to {values[-1]}"
        raise ValueError(f"no pixel of it is white, so nothing would be repainted: it holds {held} of 255; give 255 where it is to be")
    return grey >= 128


def _most_coloured(picture: Image.Image) -> tuple[int, ...]:
    """Red, green and blue of the pixel that is the furthest from grey."""
    pixels = np.asarray(picture).reshape(-1, 3).astype(int)
    return tuple(pixels[np.argmax(pixels.max(1) - pixels.min(1))].tolist())


def _from_numbers(numbers: Sequence, size: tuple[int, int], factor: int) -> Tensor:
    """The pixels of a box, or of places."""
    height, width = size
    found = torch.zeros(size, dtype=torch.bool)
    if len(numbers) == 4 and all(isinstance(n, Integral) for n in numbers):
        left, top, right, bottom = (int(n) for n in numbers)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"mask: got the box {tuple(numbers)} for {width} x {height} pixels; want left < right and top < bottom inside")
        found[top:bottom, left:right] = True
        return found
    for place in numbers:
        if not isinstance(place, list | tuple) or len(place) != 2 or not all(isinstance(n, Integral) for n in place):
            raise ValueError(f"mask: got {place!r}; give a picture, a box (left, top, right, bottom), or places [(row, column), ...]")
        row, column = place
        if not (0 <= row < height // factor and 0 <= column < width // factor):
            raise ValueError(f"mask: got place {tuple(place)}; rows are 0 to {height // factor - 1}, columns 0 to {width // factor - 1}")
        found[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor] = True
    return found


def crop_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Where `centre_crop` takes its image, all pixels that a masked pixel (H, W) bool may have any influence on, and a few more.

    Bicubic scaling mixes two pixels on each side, before or after it, whichever are larger, and halving first may shift all by one.
    """
    picture = Image.fromarray(mask.numpy().astype(np.float32))  # floats, or a speck in a large picture would round to nothing
    smaller = picture.resize((size[1], size[0]), Image.Resampling.BOX, box=cover(picture.size, size))
    reach = 1 + math.ceil(2 * max(1.0, size[0] / mask.shape[0], size[1] / mask.shape[1]))
    touched = torch.from_numpy(np.array(smaller))[None, None]
    return F.max_pool2d(touched, 2 * reach + 1, 1, reach)[0, 0] > 0


def crop_with_mask(picture: Image.Image, mask: Tensor, size: tuple[int, int], channels: int) -> tuple[Tensor, Tensor]:
    """A picture in mode L or RGB and its mask (H, W) bool, cropped and scaled together to `size` (height, width).

    Returns pixels, uint8 (channels, height, width), and the mask: those pixels that show anything that was masked, and no more.
    A pixel beside it, into which scaling would mix what was masked, is scaled from the known ones alone.
    """
    pixels, known = pixels_of(picture, size, channels), 1 - mask.numpy().astype(np.float32)
    covered = _covered(mask, size)
    beside = crop_mask(mask, size) & ~covered
    if beside.any():
        weight = np.maximum(_scaled(known, size), 0.25)  # near 1 where a pixel is wholly known
        planes = pixels_of(picture, None, channels).numpy().astype(np.float32)
        alone = np.stack([_scaled(plane * known, size) / weight for plane in planes])
        pixels = torch.where(beside, torch.from_numpy(np.rint(alone.clip(0, 255)).astype(np.uint8)), pixels)
    return pixels, covered


def _scaled(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane of floats (H, W) as `centre_crop` scales a picture."""
    image = Image.fromarray(plane)
    for smaller in _halved(image.size, size):
        image = image.resize(smaller, Image.Resampling.BOX)
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=cover(image.size, size)))


def _covered(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Which pixels of the crop have a masked one's centre in the area of the picture that they show."""
    image = Image.fromarray(mask.numpy().astype(np.float32))  # floats, or a speck in a large picture would round to nothing
    width, height = [image.size, *_halved(image.size, size)][-1]
    per_x, per_y = image.width / width, image.height / height
    left, top, right, bottom = cover((width, height), size)
    box = left * per_x, top * per_y, min(right * per_x, image.width), min(bottom * per_y, image.height)
    return torch.from_numpy(np.array(image.resize((size[1], size[0]), Image.Resampling.BOX, box=box)) > 0)


def _halved(full: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes (width, height) through which `centre_crop` goes before it scales to `size` (height, width)."""
    found, (width, height) = [], full
    while width >= 2 * size[1] and height >= 2 * size[0]:
        width, height = width // 2, height // 2
        found.append((width, height))
    return found


def places_of(mask: Tensor, factor: int) -> Tensor:
    """Places (..., H / factor, W / factor) that hold a pixel of the mask (..., H, W)."""
    return mask.unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor)).any(-1).any(-2)


def spread(values: Tensor, known: Tensor, most: int | None = None) -> tuple[Tensor, Tensor]:
    """A smooth continuation: known pixels grow over the others ring by ring, each new pixel the mean of its filled neighbours.

    values (n, C, H, W), known (H, W) bool; most: rings at most, None for as many as needed. Returns values (n, C, H, W), zero where no ring
    came, and the ring of each pixel (H, W): 0 for known pixels and where none came.
    """
    there = known.to(values.dtype)[None, None]
    values, rings, ring = values * there, torch.zeros(known.shape, dtype=torch.long), 0
    while (most is None or ring < most) and 0 < there.sum() < there.numel():
        ring += 1
        near = 9 * F.avg_pool2d(there, 3, 1, 1)  # the number of filled neighbours
        new = (there == 0) & (near > 0.5)
        values = torch.where(new, 9 * F.avg_pool2d(values, 3, 1, 1) / near.clamp(min=1), values)
        rings[new[0, 0]] = ring
        there = there + new
    return values, rings
