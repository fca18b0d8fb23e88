"""The canvas of an edit: a picture as the pipeline takes it, and which of its pixels are repainted."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from bitmosaic.images import check_exact, crop_with_mask, read_mask
from bitmosaic.images.read import picture_of, pixels_of
from bitmosaic.pipelines.two_stage import TwoStagePipeline

Fit = Literal["exact", "crop", "tile"]


def canvas(pipeline: TwoStagePipeline, image: Any, mask: Any, fit: Fit = "exact") -> tuple[Tensor, Tensor]:
    """What `inpaint` paints on: pixels (C, H, W) in [0, 1], and which of them are repainted, (H, W) bool. ValueError as there."""
    pixels, picture = _fitted(pipeline, image, fit)
    size, factor, own_size = tuple(pixels.shape[1:]), pipeline.factor, (picture.height, picture.width)
    of_places = isinstance(mask, list | tuple) and not all(isinstance(n, Integral) for n in mask)
    if size == own_size or of_places:
        return pixels, read_mask(mask, size, factor)
    whole = read_mask(mask, own_size, factor)
    cropped, repaint = crop_with_mask(picture, whole, size, len(pixels))
    if whole.any() and not repaint.any():
        raise ValueError("mask: all that is white in it lies outside the centre that fit 'crop' keeps; paint there")
    return cropped.float() / 255, repaint


def _fitted(pipeline: TwoStagePipeline, image: Any, fit: Fit) -> tuple[Tensor, Image.Image]:
    """Pixels (C, H, W) in [0, 1] of the pipeline's size or, tiled, of the image's own, and the picture itself."""
    if fit not in ("exact", "crop", "tile"):
        raise ValueError(f"fit: got {fit!r}; want 'exact', 'crop' or 'tile'")
    size, channels, picture = pipeline.image_size, pipeline.channels, picture_of(image, pipeline.background)
    if fit == "exact":
        check_exact(picture, size, channels)
    if (picture.height, picture.width) != size and fit == "crop":
        return pixels_of(picture, size, channels).float() / 255, picture
    pixels = pixels_of(picture, None, channels).float() / 255
    check_window(pipeline, pixels, "image: got", "fit 'crop' scales it")
    return pixels, picture


def check_window(pipeline: TwoStagePipeline, canvas: Tensor, what: str, remedy: str) -> None:
    (height, width), size = canvas.shape[1:], pipeline.image_size
    if height < size[0] or width < size[1]:
        raise ValueError(f"{what} {width} x {height} pixels; this pipeline works on {size[1]} x {size[0]}, so it is too small; {remedy}")
