"""Editing without retraining (BiGR, arXiv 2410.14672, section 4.4): inpaint, outpaint, edit, interpolate, enrich, all by `complete`.

We differ in a schedule over hidden places, in hiding masked pixels from the encoder, in pasting known pixels back, and in windows for
pictures larger than the pipeline's. These functions are methods of CodesPipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.images import Output, fitted
from bitmosaic.images.read import picture_of, pixels_of
from bitmosaic.pipelines.conditions import Condition, of_windows
from bitmosaic.pipelines.protocol import OnStep, Pipeline
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.samplers import SamplerSpec
from bitmosaic.values import value

from .answers import Answers, ranked
from .blends import blend
from .canvas import Fit, canvas, check_window
from .fill import complete, fill
from .partly import known_of, told
from .windows import windows

EDIT_GUIDANCE = 5.0  # the best of 1.75, 3 and 5, see docs/editing.md


def inpaint(
    pipeline: TwoStagePipeline, image: Any, mask_image: Any, condition: Condition = None, seeds: int | Sequence[int] = 0, *,
    feather: int = 0, fit: Fit = "exact", output_type: Output = "pil", batch_size: int = 64, callback_on_step_end: OnStep = None,
    **settings,
) -> Answers:  # fmt: skip
    """Repaints what a mask covers, once for each seed; all other pixels come back as they were, bit for bit.

    image: one picture of any kind that `encode` takes; transparency is laid on the background, and colours become the pipeline's.
    mask_image: a picture of the same size (white is repainted), a box (left, top, right, bottom), or places [(row, column), ...]. A place
    of the code grid is hidden where any of its pixels is repainted; where a mask is thin or scattered, the known pixels of such places
    steer what is painted (`editing.partly`). Pixels under the mask have no influence. condition: a class, a blend, or None. feather:
    pixels inside the mask over which the seam is blended. fit, for pictures of other sizes than the pipeline's: "exact" refuses them,
    "crop" takes their centre and scales it, "tile", for pipelines trained on parts of pictures, works at their own size in windows of the
    pipeline's, from known pixels outwards. settings: guidance_scale, num_inference_steps and others, as in `__call__`.
    ValueError for an image, a mask or settings that do not fit.
    """
    pixels, repaint = canvas(pipeline, image, mask_image, fit)
    return _answers(pipeline, pixels, repaint, condition, seeds, feather, output_type, batch_size, callback_on_step_end, settings)


def edit(
    pipeline: TwoStagePipeline, image: Any, mask_image: Any, condition: Condition, seeds: int | Sequence[int] = 0, **arguments
) -> Answers:  # fmt: skip
    """`inpaint` with another class inside the mask; `arguments` as there, with a guidance scale of 5 by default.

    ValueError without a condition.
    """
    if value(condition) is None:
        raise ValueError("condition: got None; name the class that shall stand inside the mask, or use inpaint")
    return inpaint(pipeline, image, mask_image, condition, seeds, **edit_settings(pipeline, arguments))


def edit_settings(pipeline: TwoStagePipeline, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the sampler for `edit`: stronger guidance than the pipeline's own, unless guidance or a sampler is given.

    The known part of a picture favours its old class, so the new one needs stronger guidance (measured in docs/editing.md).
    """
    if settings.get("guidance_scale") is not None or settings.get("sampler") is not None:
        return settings
    return {**settings, "guidance_scale": max(EDIT_GUIDANCE, pipeline.settings().guidance_scale)}


def outpaint(
    pipeline: TwoStagePipeline, image: Any, padding: int | Sequence[int], condition: Condition = None, seeds: int | Sequence[int] = 0, *,
    feather: int = 0, output_type: Output = "pil", batch_size: int = 64, callback_on_step_end: OnStep = None, **settings,
) -> Answers:  # fmt: skip
    """Paints around an image, once for each seed; its own pixels come back bit for bit.

    padding: pixels to add on all sides, or (left, top, right, bottom). The canvas may have any size: one larger than
    the pipeline's images is painted in overlapping windows of that size, from the image outwards. A pipeline trained on pictures of whole
    objects paints well up to the size of its images, and at best background beyond. Other arguments as of `inpaint`.
    ValueError for padding that is negative or all 0, and for a canvas smaller than the pipeline's images.
    """
    pixels = pixels_of(picture_of(image, pipeline.background), None, pipeline.channels).float() / 255
    sides = [padding] * 4 if isinstance(padding, Integral) else list(padding) if isinstance(padding, list | tuple) else []
    if len(sides) != 4 or not all(isinstance(side, Integral) and side >= 0 for side in sides) or not any(sides):
        raise ValueError(f"padding: got {padding!r}; give pixels for all sides, or (left, top, right, bottom), not negative, not all 0")
    left, top, right, bottom = (int(side) for side in sides)
    padded = F.pad(pixels, (left, right, top, bottom))
    repaint = F.pad(torch.zeros(pixels.shape[1:], dtype=torch.bool), (left, right, top, bottom), value=True)
    check_window(pipeline, padded, "padding: the canvas is", "add more")
    return _answers(pipeline, padded, repaint, condition, seeds, feather, output_type, batch_size, callback_on_step_end, settings)


def interpolate(
    pipeline: Pipeline, conditions: Sequence, seed: int = 0, *, frames: int = 9, weights: Sequence[Sequence[float]] | None = None,
    **arguments,
) -> Any:  # fmt: skip
    """Images from class to class, all from one seed and so the same noise: `frames` of them, evenly spaced along the path through
    `conditions`.

    conditions: two or more classes, None for the null class. weights: instead of the path, one row an image with a weight for each
    condition, which sum to 1. `arguments` and result as for `__call__`, of a pipeline of any kind with classes. ValueError for anything
    else.
    """
    blends = blend(conditions, frames, weights)
    return pipeline(blends, [seed] * len(blends), **arguments)


def enrich(
    pipeline: TwoStagePipeline, image: Any, condition: Condition = None, seeds: int | Sequence[int] = 0, *, shrink: int = 2,
    repeats: int = 4, fit: Literal["exact", "crop"] = "exact", output_type: Output = "pil", batch_size: int = 64,
    callback_on_step_end: OnStep = None, **settings,
) -> Answers:  # fmt: skip
    """Draws fine detail anew, once for each seed: every place is hidden once in four rounds, a place of each 2 x 2 at a time.

    shrink: the factor by which the image is first made smaller and enlarged again (1: unchanged); repeats: of the four rounds. fit: as for
    `inpaint`, without "tile". Answers are ranked by the code length of the whole image. ValueError for an image or settings that do not
    fit.
    """
    if not isinstance(repeats, Integral) or repeats < 1:
        raise ValueError(f"repeats: got {repeats!r}; give a whole number of at least 1")
    _, pixels = coarse(pipeline, image, shrink, fit)

    def fresh(n: int, generators: list[torch.Generator], how: SamplerSpec) -> tuple[Tensor, Tensor]:
        codes = pipeline.encode_pixels(pixels.expand(n, -1, -1, -1))
        for _ in range(repeats):
            groups = torch.stack([_quarters(pipeline.grid, rng) for rng in generators])
            for group in range(4):
                codes = complete(pipeline, codes, groups != group, condition, generators, callback_on_step_end, how)
        nothing = torch.zeros(groups.shape, dtype=torch.bool, device=groups.device)
        return pipeline.decode(codes, "pt"), pipeline.code_length(codes, nothing, [condition] * len(codes))

    return ranked(pipeline, fresh, condition, seeds, batch_size, output_type, settings)


def coarse(pipeline: TwoStagePipeline, image: Any, shrink: int, fit: Literal["exact", "crop"] = "exact") -> tuple[Tensor, Tensor]:
    """The image given to `enrich`, and the coarse one that it starts from, (C, H, W) in [0, 1] both. ValueError as there."""
    height, width = pipeline.image_size
    if not isinstance(shrink, Integral) or not 1 <= shrink <= min(height, width):
        raise ValueError(f"shrink: got {shrink!r}; give a whole number from 1 to {min(height, width)}")
    pixels = fitted(image, (height, width), pipeline.channels, fit, pipeline.background).float() / 255
    small = F.interpolate(pixels[None], (-(-height // shrink), -(-width // shrink)), mode="area")
    large = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
    return pixels, large if shrink > 1 else pixels


def _answers(
    pipeline, pixels: Tensor, repaint: Tensor, condition, seeds, feather: int, output_type: Output, batch_size: int, callback, settings
) -> Answers:
    """Answers for every seed, of pixels (C, H, W) of which `repaint` (H, W) is to be painted."""
    if not isinstance(feather, Integral) or feather < 0:
        raise ValueError(f"feather: got {feather!r}; give whole pixels, 0 for none")
    size, parts, left = pipeline.image_size, [], repaint.clone()
    if tuple(repaint.shape) != tuple(size):
        condition = of_windows(condition, pipeline.reader)
    for window in windows(repaint, size):
        parts.append((window, left[window].clone()))
        left[window] = False

    def painted(n: int, generators: list[torch.Generator], how: SamplerSpec) -> tuple[Tensor, Tensor]:
        canvas, bits = pixels.repeat(n, 1, 1, 1), torch.zeros(n)
        for window, hidden in parts:
            at = (..., *window)
            canvas[at], cost = fill(pipeline, canvas[at], hidden, condition, generators, feather, callback, how)
            bits = bits + cost
        return canvas, bits

    answers = ranked(pipeline, painted, condition, seeds, batch_size, output_type, settings)
    return replace(answers, notes=_notes(pipeline, [hidden for _, hidden in parts], tuple(repaint.shape)))


def _notes(pipeline, hidden: list[Tensor], canvas: tuple[int, int]) -> tuple[str, ...]:
    """Remarks on what was done beyond the arguments."""
    (height, width), factor = pipeline.image_size, pipeline.factor
    partly = [text for text in (told(known_of(one, factor), factor, pipeline.family == "masked") for one in hidden) if text]
    notes = partly if len(partly) < 2 else [f"{partly[0]}; likewise in {len(partly) - 1} more windows"]
    if hidden and canvas != (height, width):
        many, each = (f"{len(hidden)} windows", "each ") if len(hidden) > 1 else ("a window", "")
        limit = f", {each}as a picture of its own: a pipeline that was trained on whole things alone may paint pieces of others there"
        notes.append(f"painted in {many} of {width} x {height} pixels{'' if pipeline.reader.shifted else limit}")
    return tuple(notes)


def _quarters(grid: tuple[int, int], rng: torch.Generator) -> Tensor:
    """A number from 0 to 3 for every place, each once in every complete 2 x 2 block, in a random order for each block."""
    rows, columns = grid
    blocks = torch.rand((rows + 1) // 2, (columns + 1) // 2, 4, generator=rng, device=rng.device).argsort(-1)
    return blocks.unflatten(-1, (2, 2)).transpose(1, 2).flatten(2, 3).flatten(0, 1)[:rows, :columns]
