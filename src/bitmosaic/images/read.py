"""Reads one picture of any kind as a uint8 tensor.

Resizing follows ADM (Dhariwal and Nichol, arXiv 2105.05233), as BiGR's does. We differ in allowing sizes that are not square.
Colour profiles are not applied.
"""

import contextlib
import errno
import os
import threading
import warnings
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from .deep import deep_colour, eight_bits
from .formats import needed, plug_in

Size = int | tuple[int, int]

_FAILING = {  # errors of a failing disk or server, never of a file's content
    getattr(errno, name) for name in (
        "ENOENT", "EIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
        "ENETUNREACH", "ENODEV", "ENXIO", "EREMOTEIO", "ENOLINK", "ESHUTDOWN") if hasattr(errno, name)
}  # fmt: skip

_WARNINGS = threading.Lock()  # warnings.catch_warnings changes the whole process, so one thread at a time


class UnreadableImage(ValueError):
    """A picture cannot be read; name: its path, reason: why. gone: it is missing, or its disk fails."""

    def __init__(self, name: str, reason: str, gone: bool = False):
        super().__init__(name, reason, gone)
        self.name, self.reason, self.gone = name, reason, gone

    def __str__(self) -> str:
        return f"image: cannot read {self.name}: {self.reason}"


def as_size(size: Size) -> tuple[int, int]:
    """(height, width) from one side or from both. ValueError if a side is not a whole number of at least 1."""
    sides = tuple(size) if isinstance(size, (tuple, list, torch.Size)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides):
        raise ValueError(f"size: got {size!r}; give a side in pixels such as 256, or (height, width)")
    return sides


def check_channels(channels: int) -> int:
    """ValueError unless channels is 1 (grey) or 3 (RGB)."""
    if channels not in (1, 3):
        raise ValueError(f"channels: got {channels!r}; give 1 for grey or 3 for RGB")
    return channels


def read_image(image, size: Size | None = None, channels: int = 3, background: str = "white") -> Tensor:
    """Reads one picture upright, on the background where it is transparent, scaled and cropped to size.

    image: a path; the bytes of a file; a PIL image; an array (H, W) or (H, W, C); a tensor (H, W) or (C, H, W). Arrays
    and tensors are uint8 in [0, 255] or float in [0, 1]. size: a side or (height, width), see `centre_crop`; None keeps
    the picture's own size. background: a colour by name or as "#336699".
    Returns uint8 in [0, 255]: (channels, height, width).
    UnreadableImage (a ValueError) for a file that cannot be read, ValueError for an array of another kind.
    """
    check_channels(channels)
    size = None if size is None else as_size(size)
    return pixels_of(picture_of(image, background), size, channels)


def pixels_of(picture: Image.Image, size: Size | None, channels: int) -> Tensor:
    """uint8 (channels, height, width) of a picture in mode L or RGB, cropped and scaled where there is a size."""
    mode = "L" if channels == 1 else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    pixels = torch.from_numpy(np.array(picture if size is None else centre_crop(picture, size)))
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def as_colour(background: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour by name or as "#336699"; or ValueError."""
    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"background: got {background!r}; give a colour such as black, white or '#336699'") from None


def centre_crop(image: Image.Image, size: Size) -> Image.Image:
    """ADM's crop: halve by a box filter while twice the size fits, scale by bicubic to cover the size, keep the centre.

    image: any mode; size: a side or (height, width). Returns an image of exactly that size in mode L or RGB.
    The picture is cropped and scaled in one step, so a very long one does not grow very large in between.
    """
    height, width = as_size(size)
    image = flatten(image)
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=cover(image.size, (height, width)))


def cover(size: tuple[int, int], wanted: Size) -> tuple[float, float, float, float]:
    """The centre of a picture of `size` (width, height) that has the shape of `wanted` (height, width): left, top, right, bottom."""
    (full_width, full_height), (height, width) = size, as_size(wanted)
    scale = max(height / full_height, width / full_width)
    scaled_height, scaled_width = max(height, round(scale * full_height)), max(width, round(scale * full_width))
    top, left = (scaled_height - height) // 2, (scaled_width - width) // 2
    per_y, per_x = full_height / scaled_height, full_width / scaled_width  # pixels before per pixel after
    bottom, right = min((top + height) * per_y, full_height), min((left + width) * per_x, full_width)
    return left * per_x, top * per_y, right, bottom


def flatten(image: Image.Image, background: str | None = "white") -> Image.Image:
    """Any mode to L or RGB of 8 bits: transparency over the background, more bits and floats scaled (`deep.eight_bits`).

    ValueError if values lie outside the range of their mode, and for transparency where the background is None.
    """
    if background is None and image.has_transparency_data:
        if image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
            raise ValueError("it has transparency")
        background = "white"  # of which nothing is visible
    ground = (255, 255, 255) if background is None else as_colour(background)
    if image.mode == "F" or image.mode.startswith("I"):
        return eight_bits(image, Image.new("RGB", (1, 1), ground).convert("L").getpixel((0, 0)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        below = Image.new("RGBA", colour.size, (*ground, 255))
        below.alpha_composite(colour)
        return below.convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def picture_of(image, background: str | None = "white") -> Image.Image:
    """Anything `read_image` takes, as an upright image of its own size in mode L or RGB. background: None refuses transparency.
    Errors as there.
    """
    if background is not None:
        as_colour(background)
    if isinstance(image, Image.Image):
        return _load(image, "the given image", background)
    if isinstance(image, bytes):
        return _load(BytesIO(image), "the given bytes", background)
    if isinstance(image, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(image))
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            there = os.path.exists(path)
            raise UnreadableImage(path, "it is not a file" if there or os.path.lexists(path) else "there is no such file", not there)
        return _load(path, path, background)
    if isinstance(image, Tensor):
        pixels = (image.float() if image.is_floating_point() else image).detach().cpu()
        pixels = pixels.permute(1, 2, 0) if pixels.dim() == 3 else pixels
        return _from_array(pixels.numpy(), image.shape, "tensor (C, H, W)", background)
    if isinstance(image, np.ndarray):
        return _from_array(image, image.shape, "array (H, W, C)", background)
    raise ValueError(f"image: got a {type(image).__name__}; give a path, bytes, a PIL image, an array or a tensor")


def _load(source, name: str, background: str | None) -> Image.Image:
    """Decodes a path, a stream or a PIL image, upright, in mode L or RGB. Any failure is an UnreadableImage."""
    plug_in()
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            ours = not isinstance(source, Image.Image)  # opened here, so closed here
            with Image.open(source) if ours else contextlib.nullcontext(source) as picture:
                if picture.format == "EPS":
                    raise ValueError("it is PostScript, a program, which Pillow would have Ghostscript run")
                raw = picture.tile[0] if ours and picture.tile else None  # gone once it is loaded
                picture.load()
                if 0 in picture.size:
                    raise ValueError("it has no pixels")
                return flatten(_upright(deep_colour(source, picture, raw)), background)
        except Exception as error:
            package = needed(name) if isinstance(error, UnidentifiedImageError) and source == name else ""
            why = f"Pillow reads it with {package} alone, which is not installed" if package else _reason(error)
            raise UnreadableImage(name, why, isinstance(error, OSError) and error.errno in _FAILING) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a damaged EXIF block says nothing."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        return picture.copy()


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture, or of a format that Pillow does not know"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"it is too large, more than Pillow's limit of {Image.MAX_IMAGE_PIXELS} pixels"
    return " ".join(f"{error}".split()) or type(error).__name__


def _from_array(array: np.ndarray, shape: tuple[int, ...], layout: str, background: str | None) -> Image.Image:
    """An array (H, W) or (H, W, C), uint8 or float in [0, 1], in mode L or RGB; shape and layout are for messages."""
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        raise ValueError(f"image: got shape {tuple(shape)}; give one picture as (H, W) or {layout} with C from 1 to 4")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -1e-4 and high <= 1 + 1e-4):  # also true of NaN
            raise ValueError(f"image: got values from {low:g} to {high:g}; give float in [0, 1] or uint8")
        array = np.rint(array.astype(np.float32).clip(0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"image: got values of type {array.dtype}; give uint8 in [0, 255] or float in [0, 1]")
    return flatten(Image.fromarray(np.ascontiguousarray(array)), background)
