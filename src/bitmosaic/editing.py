"""Jobs without retraining (BiGR, arXiv 2410.14672, section 4.4): inpaint, outpaint, edit, interpolate, enrich, each by `complete` alone.

We differ in: rounds count hidden places; what lay under a mask reaches neither encoder nor result; known pixels are pasted back;
pictures larger than the pipeline's are done window by window. These functions are methods of Pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.codes import Codes
from bitmosaic.images import Output, check_exact, check_output, crop_with_mask, fitted, places_of, read_mask, spread, to_output
from bitmosaic.images.read import picture_of, pixels_of
from bitmosaic.samplers import Step
from bitmosaic.values import value, values

if TYPE_CHECKING:
    from bitmosaic.pipeline import Condition, Pipeline

Fit = Literal["exact", "crop", "tile"]
Callback = Callable[[Step], None] | None


@dataclass(frozen=True)
class Answers:
    """Several answers to one question, the likeliest first."""

    images: Any  # as `output_type` says
    seeds: tuple[int, ...]
    bits: tuple[float, ...]  # that the prior, unguided, needs for what it painted: fewer, likelier (`priors.likelihood`)


def inpaint(
    pipeline: Pipeline, image: Any, mask_image: Any, condition: Condition = None, seeds: int | Sequence[int] = 0, *, feather: int = 0,
    fit: Fit = "exact", output_type: Output = "pil", batch_size: int = 64, callback_on_step_end: Callback = None, **settings,
) -> Answers:  # fmt: skip
    """Repaints what a mask covers, once for each seed; all other pixels come back as they were, bit for bit.

    image: one picture of any kind that `encode` takes, without transparency and in the pipeline's colours from here on. mask_image: a
    picture of the same size (white is repainted), a box (left, top, right, bottom), or places [(row, column), ...]; a place of the
    code grid is hidden where any of its pixels is repainted, and what lay under the mask has no influence. condition: a
    class, a blend, or None. feather: pixels inside the mask over which the seam is levelled. fit, for pictures of other sizes than
    the pipeline's: "exact" refuses them, "crop" takes their centre and scales it, "tile" works at their own size in
    windows of the pipeline's, from what is known outwards. settings: guidance_scale, num_inference_steps and others, as in `__call__`.
    ValueError for an image, a mask or settings that do not fit.
    """
    pixels, repaint = canvas(pipeline, image, mask_image, fit)
    return _answers(pipeline, pixels, repaint, condition, seeds, feather, output_type, batch_size, callback_on_step_end, settings)


def edit(
    pipeline: Pipeline, image: Any, mask_image: Any, condition: Condition, seeds: int | Sequence[int] = 0, **arguments
) -> Answers:  # fmt: skip
    """`inpaint` with another class inside the mask; `arguments` as there. ValueError without a condition."""
    if value(condition) is None:
        raise ValueError("condition: got None; name the class that shall stand inside the mask, or use inpaint")
    return inpaint(pipeline, image, mask_image, condition, seeds, **arguments)


def outpaint(
    pipeline: Pipeline, image: Any, padding: int | Sequence[int], condition: Condition = None, seeds: int | Sequence[int] = 0, *,
    feather: int = 0, output_type: Output = "pil", batch_size: int = 64, callback_on_step_end: Callback = None, **settings,
) -> Answers:  # fmt: skip
    """Paints around an image, once for each seed; its own pixels come back bit for bit.

    padding: pixels to add on all sides, or (left, top, right, bottom). The canvas may be as large as one likes: what is larger than
    the pipeline's images is painted in windows of that size, from the image outwards. Else as `inpaint`.
    ValueError for padding that adds nothing or takes away, and for a canvas smaller than the pipeline's images.
    """
    pixels = pixels_of(picture_of(image, pipeline.background), None, pipeline.tokenizer.channels).float() / 255
    sides = [padding] * 4 if isinstance(padding, Integral) else list(padding) if isinstance(padding, list | tuple) else []
    if len(sides) != 4 or not all(isinstance(side, Integral) and side >= 0 for side in sides) or not any(sides):
        raise ValueError(f"padding: got {padding!r}; give pixels for all sides, or (left, top, right, bottom), not negative, not all 0")
    left, top, right, bottom = (int(side) for side in sides)
    padded = F.pad(pixels, (left, right, top, bottom))
    repaint = F.pad(torch.zeros(pixels.shape[1:], dtype=torch.bool), (left, right, top, bottom), value=True)
    _check_window(pipeline, padded, "padding: the canvas is", "add more")
    return _answers(pipeline, padded, repaint, condition, seeds, feather, output_type, batch_size, callback_on_step_end, settings)


def interpolate(
    pipeline: Pipeline, conditions: Sequence, seed: int = 0, *, frames: int = 9, weights: Sequence[Sequence[float]] | None = None,
    **arguments,
) -> Any:  # fmt: skip
    """Images from class to class, all from one seed, so from the same noise: `frames` of them, evenly along the way through `conditions`.

    conditions: two or more classes, None for the null class. weights: instead of the way, one row an image with a weight for each
    condition, which sum to 1. `arguments` and what is returned as for `__call__`. ValueError for what is none of these.
    """
    blends = blend(conditions, frames, weights)
    return pipeline(blends, [seed] * len(blends), **arguments)


def enrich(
    pipeline: Pipeline, image: Any, condition: Condition = None, seeds: int | Sequence[int] = 0, *, shrink: int = 2, repeats: int = 4,
    fit: Literal["exact", "crop"] = "exact", output_type: Output = "pil", batch_size: int = 64, callback_on_step_end: Callback = None,
    **settings,
) -> Answers:  # fmt: skip
    """Draws fine detail anew, once for each seed: every place is hidden once in four rounds, a place of each 2 x 2 at a time.

    shrink: the image is made so many times smaller and enlarged back before (1: it is taken as it is); repeats: of the four rounds.
    fit: as for `inpaint`, without windows. Bits are those of the whole image. ValueError for an image or settings that do not fit.
    """
    if not isinstance(repeats, Integral) or repeats < 1:
        raise ValueError(f"repeats: got {repeats!r}; give a whole number of at least 1")
    _, pixels = coarse(pipeline, image, shrink, fit)

    def fresh(n: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        codes = pipeline._codes(pixels.expand(n, -1, -1, -1))
        for _ in range(repeats):
            groups = torch.stack([_quarters(pipeline.prior.grid, rng) for rng in generators])
            for group in range(4):
                codes = _complete(pipeline, codes, groups != group, condition, generators, callback_on_step_end, settings)
        nothing = torch.zeros(groups.shape, dtype=torch.bool, device=groups.device)
        return pipeline.decode(codes, "pt"), pipeline._code_length(codes, nothing, [condition] * len(codes))

    return _ranked(pipeline, fresh, condition, seeds, batch_size, output_type, settings)


def coarse(pipeline: Pipeline, image: Any, shrink: int, fit: Literal["exact", "crop"] = "exact") -> tuple[Tensor, Tensor]:
    """What `enrich` is given and what it begins with, (C, H, W) in [0, 1] both. ValueError as there."""
    height, width = pipeline.tokenizer.image_size
    if not isinstance(shrink, Integral) or not 1 <= shrink <= min(height, width):
        raise ValueError(f"shrink: got {shrink!r}; give a whole number from 1 to {min(height, width)}")
    pixels = fitted(image, (height, width), pipeline.tokenizer.channels, fit, pipeline.background).float() / 255
    small = F.interpolate(pixels[None], (-(-height // shrink), -(-width // shrink)), mode="area")
    large = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
    return pixels, large if shrink > 1 else pixels


def blend(conditions: Sequence, frames: int, weights: Sequence[Sequence[float]] | None = None) -> list[dict]:
    """{condition: weight} of each frame: evenly along the way through the conditions, or by rows of weights."""
    conditions = values(conditions, "conditions")
    wrong = next((c for c in conditions if not (c is None or isinstance(c, Integral | str))), None)
    if wrong is not None:
        raise ValueError(f"conditions: got {wrong!r}; give single classes, or None, the way mixes them by itself")
    if len(conditions) < 2 or (weights is None and (not isinstance(frames, Integral) or frames < 2)):
        raise ValueError(f"conditions, frames: got {len(conditions)} and {frames}; give at least two of each")
    rows = way(len(conditions), frames) if weights is None else [values(row, "weights") for row in weights]
    if not rows:
        raise ValueError("weights: got no rows; give one an image")
    found = []
    for row in rows:
        if len(row) != len(conditions) or min(row) < 0 or not abs(sum(row) - 1) < 1e-3:
            raise ValueError(f"weights: got {row}; give {len(conditions)} in each row, not negative, that sum to 1")
        frame: dict = {}
        for condition, weight in zip(conditions, row, strict=True):
            if weight:
                frame[condition] = frame.get(condition, 0.0) + float(weight)
        found.append(frame)
    return found


def way(conditions: int, frames: int) -> list[list[float]]:
    """Rows of weights, evenly along the way through so many conditions."""
    at = [i * (conditions - 1) / (frames - 1) for i in range(frames)]
    return [[max(0.0, 1 - abs(x - j)) for j in range(conditions)] for x in at]


def windows(repaint: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Windows (rows, columns) of `size` that together cover what is to be repainted, (H, W) bool, from what is known outwards.

    One, if all fits into one of which a quarter is known. Else they lie half a window apart: first those that see known pixels, the more
    the earlier, then their neighbours, and so on; without those of which a neighbour does it all.
    """
    area, total = size[0] * size[1], int(repaint.sum())
    one = _around(repaint, size)
    if one is not None and 4 * total <= 3 * area:
        yield one
        return
    starts = [_starts(full, side) for full, side in zip(repaint.shape, size, strict=True)]
    sums = F.pad(repaint.long().cumsum(0).cumsum(1), (1, 0, 1, 0))  # of all above and to the left

    def hidden(top: int, left: int, bottom: int, right: int) -> int:
        return int(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])

    def within(i: int, j: int, other: tuple[int, int]) -> bool:
        """Whether all that a window hides lies in another one that hides more and still sees a quarter of known pixels."""
        (r, c), (y, x) = (starts[0][i], starts[1][j]), (starts[0][other[0]], starts[1][other[1]])
        shared = hidden(max(r, y), max(c, x), min(r, y) + size[0], min(c, x) + size[1])
        return shared == count[i, j] < count[other] <= 3 * area // 4

    rows, columns = (range(len(side)) for side in starts)
    count = torch.tensor([[hidden(r, c, r + size[0], c + size[1]) for c in starts[1]] for r in starts[0]])
    _, rings = spread(count[None, None].float(), count < area)
    for _, _, i, j in sorted((int(rings[i, j]), int(count[i, j]), i, j) for i in rows for j in columns):
        near = [(a, b) for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1) if a in rows and b in columns]
        if not any(within(i, j, other) for other in near):
            yield slice(starts[0][i], starts[0][i] + size[0]), slice(starts[1][j], starts[1][j] + size[1])


def needed_windows(repaint: Tensor, size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Those of `windows` in which something is left to paint when their turn comes: what is filled one after another."""
    left, found = repaint.clone(), []
    for rows, columns in windows(repaint, size):
        if left[rows, columns].any():
            found.append((rows, columns))
            left[rows, columns] = False
    return found


def _around(repaint: Tensor, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """The window around all that is to be repainted, it in the middle as far as the edges allow; None where it does not fit."""
    found = []
    for axis, side in enumerate(size):
        at = repaint.any(1 - axis).nonzero()[:, 0]
        if not len(at) or at[-1] - at[0] >= side:
            return None
        start = (int(at[0]) + int(at[-1]) + 1 - side) // 2
        start = min(max(0, start), repaint.shape[axis] - side)
        found.append(slice(start, start + side))
    return tuple(found)


def _starts(full: int, side: int) -> list[int]:
    return [*range(0, full - side, max(1, side // 2)), full - side]


def canvas(pipeline: Pipeline, image: Any, mask: Any, fit: Fit = "exact") -> tuple[Tensor, Tensor]:
    """What `inpaint` paints on: pixels (C, H, W) in [0, 1], and which of them are repainted, (H, W) bool. ValueError as there."""
    pixels, picture = _fitted(pipeline, image, fit)
    size, factor, own_size = tuple(pixels.shape[1:]), pipeline.tokenizer.factor, (picture.height, picture.width)
    of_places = isinstance(mask, list | tuple) and not all(isinstance(n, Integral) for n in mask)
    if size == own_size or of_places:
        return pixels, read_mask(mask, size, factor)
    whole = read_mask(mask, own_size, factor)
    cropped, repaint = crop_with_mask(picture, whole, size, len(pixels))
    if whole.any() and not repaint.any():
        raise ValueError("mask: all that is white in it lies outside the centre that fit 'crop' keeps; paint there, or use fit 'tile'")
    return cropped.float() / 255, repaint


def _fitted(pipeline: Pipeline, image: Any, fit: Fit) -> tuple[Tensor, Image.Image]:
    """Pixels (C, H, W) in [0, 1] of the pipeline's size or, tiled, of the image's own, and the picture itself."""
    if fit not in ("exact", "crop", "tile"):
        raise ValueError(f"fit: got {fit!r}; want 'exact', 'crop' or 'tile'")
    size, channels, picture = tuple(pipeline.tokenizer.image_size), pipeline.tokenizer.channels, picture_of(image, pipeline.background)
    if fit == "exact":
        check_exact(picture, size, channels, remedy="takes the centre and scales it, 'tile' works at the image's own size, in windows")
    if (picture.height, picture.width) != size and fit == "crop":
        return pixels_of(picture, size, channels).float() / 255, picture
    pixels = pixels_of(picture, None, channels).float() / 255
    _check_window(pipeline, pixels, "image: got", "fit 'crop' scales it")
    return pixels, picture


def _check_window(pipeline: Pipeline, canvas: Tensor, what: str, remedy: str) -> None:
    (height, width), size = canvas.shape[1:], pipeline.tokenizer.image_size
    if height < size[0] or width < size[1]:
        raise ValueError(f"{what} {width} x {height} pixels; this pipeline works on {size[1]} x {size[0]}, so it is too small; {remedy}")


def _answers(
    pipeline, pixels: Tensor, repaint: Tensor, condition, seeds, feather: int, output_type: Output, batch_size: int, callback, settings
) -> Answers:
    """Every seed's answer to pixels (C, H, W) of which `repaint` (H, W) is to be painted."""
    if not isinstance(feather, Integral) or feather < 0:
        raise ValueError(f"feather: got {feather!r}; give whole pixels, 0 for none")

    def painted(n: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        canvas, left, bits = pixels.repeat(n, 1, 1, 1), repaint.clone(), torch.zeros(n)
        for rows, columns in needed_windows(repaint, pipeline.tokenizer.image_size):
            found, cost = _fill(
                pipeline, canvas[..., rows, columns], left[rows, columns], condition, generators, feather, callback, settings
            )  # fmt: skip
            canvas[..., rows, columns], bits = found, bits + cost
            left[rows, columns] = False
        return canvas, bits

    return _ranked(pipeline, painted, condition, seeds, batch_size, output_type, settings)


def _fill(pipeline, pixels: Tensor, repaint: Tensor, condition, generators, feather: int, callback, settings) -> tuple[Tensor, Tensor]:
    """Images (n, C, H, W) of the pipeline's size with the pixels `repaint` (H, W) painted, and what that cost, bits (n,)."""
    smooth, _ = spread(pixels, ~repaint)  # the encoder sees a smooth continuation, not what lay there
    known = ~places_of(repaint, pipeline.tokenizer.factor)
    known = known.expand(len(pixels), -1, -1).to(pipeline.device)
    codes = _complete(pipeline, pipeline._codes(smooth), known, condition, generators, callback, settings)
    made = pipeline.decode(codes, "pt")
    if feather and not repaint.all():
        step, rings = spread(pixels - made, ~repaint, feather)
        made = (made + step * (1 - rings / (feather + 1))).clamp(0, 1)  # what has no ring has no step
    return torch.where(repaint, made, pixels), pipeline._code_length(codes, known, [condition] * len(codes))


def _complete(pipeline, codes: Codes, known: Tensor, condition, generators, callback: Callback, settings) -> Codes:
    """The codes when all places are known."""
    for step in pipeline._complete(codes, known, [condition] * len(codes), generators, settings):
        if callback is not None:
            callback(step)
    return step.codes


def _quarters(grid: tuple[int, int], rng: torch.Generator) -> Tensor:
    """A number from 0 to 3 for every place, each once in every whole 2 x 2 places, in an order drawn for each."""
    rows, columns = grid
    blocks = torch.rand((rows + 1) // 2, (columns + 1) // 2, 4, generator=rng, device=rng.device).argsort(-1)
    return blocks.unflatten(-1, (2, 2)).transpose(1, 2).flatten(2, 3).flatten(0, 1)[:rows, :columns]


def _ranked(
    pipeline, make: Callable[[int, list[torch.Generator]], tuple[Tensor, Tensor]], condition, seeds, batch_size: int, output_type, settings
) -> Answers:
    """`make(n, generators)` for each batch of seeds, its images and their bits; the answers by rising bits."""
    _, seeds = pipeline._pairs(None, seeds)
    check_output(output_type, batch_size)
    pipeline.settings(**settings), pipeline._labels([condition])  # what is wrong with them is said even where nothing is to be done
    parts = []
    for start in range(0, len(seeds), batch_size):
        generators = pipeline._generators(seeds[start : start + batch_size])
        parts.append(make(len(generators), generators))
    bits = torch.cat([cost for _, cost in parts])
    order = bits.argsort(stable=True)
    images = torch.cat([images for images, _ in parts])[order]
    return Answers(to_output(images, output_type), tuple(seeds[i] for i in order), tuple(bits[order].tolist()))
