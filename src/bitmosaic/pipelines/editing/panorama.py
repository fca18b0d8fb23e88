"""Pictures larger than a pipeline's own, drawn from nothing or around a picture: codes of one large grid, decoded in windows that blend.

BiGR (arXiv 2410.14672) outpaints inside its own size. We differ from `outpaint`, which paints pixels window by window, in that codes are
filled window by window and nothing is decoded until all are there: a window's pixels fade into those of its neighbours, which are of the
same codes. Decoding the large grid at once would have no windows at all, but a decoder that has only seen its own size, with attention and
group norms over all of it, lays a grid over the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from bitmosaic.codes import Codes, digit_dtype
from bitmosaic.images import Output, fitted
from bitmosaic.pipelines.conditions import Condition, of_windows
from bitmosaic.pipelines.protocol import OnStep
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.samplers import SamplerSpec

from .answers import Answers, ranked
from .fill import complete

STEP = 4  # a window moves by such a part of its side, so that three quarters of it are known
LARGEST = 4096  # places


def panorama(
    pipeline: TwoStagePipeline, condition: Condition = None, seeds: int | Sequence[int] = 0, *, size: tuple[int, int] | None = None,
    image: Any = None, fit: Literal["exact", "crop"] = "exact", output_type: Output = "pil", batch_size: int = 16,
    callback_on_step_end: OnStep = None, **settings,
) -> Answers:  # fmt: skip
    """Pictures of `size` (height, width), once for each seed, ranked as `inpaint`'s answers.

    size: whole places in both directions, at least the pipeline's own and at most 4,096 places; None: its height, four times its width.
    image: a picture that stands in the middle, as `encode` takes it; it comes back as its codes give it, so that it has no edge. None:
    all is drawn. fit: for an image of another size than the pipeline's, "exact" refuses it, "crop" takes its centre and scales it.
    condition: a class, a blend, or None. settings: as in `__call__`.
    ValueError for a size, an image or settings that do not fit, and of a pipeline whose prior is causal.
    """
    factor, grid = pipeline.factor, pipeline.grid
    height, width = _size(pipeline, size)
    if pipeline.family == "causal":
        raise ValueError("pipeline: its prior is causal and draws from the top left alone; a panorama needs one that fills any places")
    whole = (height // factor, width // factor)
    at = tuple(slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(whole, grid, strict=True))
    hidden = torch.ones(whole, dtype=torch.bool)
    start = torch.zeros(1, *whole, len(pipeline.radix), dtype=digit_dtype(pipeline.radix))
    if image is not None:
        pixels = fitted(image, pipeline.image_size, pipeline.channels, fit, pipeline.background).float() / 255
        start[:, *at], hidden[at] = pipeline.encode_pixels(pixels[None]).digits.cpu(), False
    parts, condition = list(steps(hidden, grid, at)), of_windows(condition, pipeline.reader)

    def drawn(n: int, generators: list[torch.Generator], how: SamplerSpec) -> tuple[Tensor, Tensor]:
        digits, bits = start.repeat(n, 1, 1, 1), torch.zeros(n)
        for window, asked in parts:
            known, inside = (~asked).expand(n, -1, -1), Codes(digits[:, *window], pipeline.radix)
            found = complete(pipeline, inside, known.to(pipeline.device), condition, generators, callback_on_step_end, how)
            bits = bits + pipeline.code_length(found, known.to(pipeline.device), [condition] * n)
            digits[:, *window] = found.digits.cpu()
        return blended(pipeline, digits), bits

    return ranked(pipeline, drawn, condition, seeds, batch_size, output_type, settings)


Window = tuple[slice, slice]  # rows, columns


def blended(pipeline: TwoStagePipeline, digits: Tensor) -> Tensor:
    """Pixels (n, C, H, W) of digits (n, rows, columns, K): windows of the pipeline's own grid, a quarter of a side apart, each weighted by
    squared sines of the place of a pixel in it.
    """
    whole, grid, factor = digits.shape[1:3], pipeline.grid, pipeline.factor
    rows, columns = ([*range(0, a - b, max(1, b // STEP)), a - b] for a, b in zip(whole, grid, strict=True))
    height, width = ((torch.pi * (torch.arange(b * factor) + 0.5) / (b * factor)).sin().square() for b in grid)
    weight, total = height[:, None] * width, torch.zeros(whole[0] * factor, whole[1] * factor)
    windows = [(slice(row, row + grid[0]), slice(column, column + grid[1])) for row in rows for column in columns]
    covered = [tuple(slice(part.start * factor, part.stop * factor) for part in window) for window in windows]
    for at in covered:
        total[at] += weight
    pixels = torch.zeros(len(digits), pipeline.channels, *total.shape)
    for window, at in zip(windows, covered, strict=True):
        own = pipeline.decode_pixels(Codes(digits[:, *window], pipeline.radix)).cpu().float()
        pixels[:, :, *at] += own * (weight / total[at])  # 1 where one window alone covers a pixel
    return pixels


def steps(hidden: Tensor, grid: tuple[int, int], at: Window) -> Iterator[tuple[Window, Tensor]]:
    """Windows (rows, columns) over places (h, w) bool, and which of each window's are drawn there, (rows, columns) bool.

    The first is the one in the middle, `at`; then rows of windows go outwards, to the sides first, each a quarter of a window further.
    """
    left = hidden.clone()
    for row in _outwards(at[0].start, hidden.shape[0] - grid[0], max(1, grid[0] // STEP)):
        for column in _outwards(at[1].start, hidden.shape[1] - grid[1], max(1, grid[1] // STEP)):
            window = slice(row, row + grid[0]), slice(column, column + grid[1])
            if left[window].any():
                yield window, left[window].clone()
                left[window] = False


def _outwards(start: int, last: int, step: int) -> list[int]:
    """From `start` to the last and then to the first place where a window may begin, `step` apart."""
    return [start, *range(start + step, last, step), *([last] * (last > start)), *range(start - step, 0, -step), *([0] * (start > 0))]


def _size(pipeline: TwoStagePipeline, size: tuple[int, int] | None) -> tuple[int, int]:
    """The size asked for, or ValueError."""
    own, factor = pipeline.image_size, pipeline.factor
    height, width = (own[0], 4 * own[1]) if size is None else size if len(size) == 2 else (0, 0)
    for side, least in ((height, own[0]), (width, own[1])):
        if not isinstance(side, Integral) or side < least or side % factor:
            raise ValueError(f"size: got {size}; give height and width, multiples of {factor} pixels, from {own[0]} and {own[1]} on")
    if height * width > LARGEST * factor**2:
        raise ValueError(f"size: {width} x {height} pixels are {height * width // factor**2:,} places; give at most {LARGEST:,}")
    return int(height), int(width)
