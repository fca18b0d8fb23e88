"""The windows in which canvases larger than a pipeline's images are painted, and their order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHARE = 0.2  # of a window to be painted at once, at most, where possible
STEPS = (7, 4, 3, 2)  # windows are 1/7 to 1/2 of their side apart, as close as MOST windows allow
MOST = 36


def windows(repaint: Tensor, size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Windows (rows, columns) of `size` that cover the pixels to repaint, (H, W) bool, from known pixels outwards.

    One window, where all fits into it and is small, or surrounded by known pixels that fill a quarter of it. Else the next is always the
    window that paints most but at most a fifth of itself; where all would paint more, the one that paints least. So each window sees as
    much known or painted context as possible: with the shipped model, windows half a window apart painted new objects on background
    (docs/editing.md).
    """
    if not repaint.any():
        return []
    total, most = int(repaint.sum()), round(SHARE * size[0] * size[1])
    edges = torch.cat([repaint[0], repaint[-1], repaint[:, 0], repaint[:, -1]])
    one = _around(repaint, size)
    if one is not None and (tuple(repaint.shape) == tuple(size) or total <= most or not edges.any() and 4 * total <= 3 * size[0] * size[1]):
        return [one]
    ways = [_starts(repaint.shape, size, parts) for parts in STEPS]
    starts = next((way for way in ways if len(way[0]) * len(way[1]) <= MOST), ways[-1])
    left, found = repaint.clone(), []
    while left.any():
        row, column = _next(left, size, starts, most)
        found.append((slice(row, row + size[0]), slice(column, column + size[1])))
        left[found[-1]] = False
    return found


def _next(left: Tensor, size: tuple[int, int], starts: list[list[int]], most: int) -> tuple[int, int]:
    """Where the next window begins, (row, column)."""
    sums = F.pad(left.long().cumsum(0).cumsum(1), (1, 0, 1, 0))  # an integral image
    top, start = (torch.tensor(side) for side in starts)
    bottom, end = top + size[0], start + size[1]
    count = sums[bottom][:, end] - sums[top][:, end] - sums[bottom][:, start] + sums[top][:, start]
    little = torch.where(count <= most, count, 0)
    best = little if bool(little.any()) else -torch.where(count > 0, count, size[0] * size[1] + 1)
    row, column = divmod(int(best.argmax()), len(start))
    return int(top[row]), int(start[column])


def _around(repaint: Tensor, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """The window centred, as far as edges allow, on all pixels to repaint; None where they do not fit into one."""
    found = []
    for axis, side in enumerate(size):
        at = repaint.any(1 - axis).nonzero()[:, 0]
        if at[-1] - at[0] >= side:
            return None
        start = (int(at[0]) + int(at[-1]) + 1 - side) // 2
        start = min(max(0, start), repaint.shape[axis] - side)
        found.append(slice(start, start + side))
    return tuple(found)


def _starts(full: tuple[int, int], size: tuple[int, int], parts: int) -> list[list[int]]:
    """Rows and columns at which windows may begin, a part of their side apart."""
    return [[*range(0, whole - side, max(1, side // parts)), whole - side] for whole, side in zip(full, size, strict=True)]
