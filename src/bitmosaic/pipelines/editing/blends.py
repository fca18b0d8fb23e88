"""Blends of classes, for interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from bitmosaic.values import values


def blend(conditions: Sequence, frames: int, weights: Sequence[Sequence[float]] | None = None) -> list[dict]:
    """{condition: weight} of each frame: evenly spaced along the path through the conditions, or by rows of `weights`.

    ValueError for fewer than two conditions or frames, for blends among the conditions, and for weights that do not sum to 1.
    """
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
    """Rows of weights, one a frame, evenly spaced along the path through so many conditions."""
    at = [i * (conditions - 1) / (frames - 1) for i in range(frames)]
    return [[max(0.0, 1 - abs(x - j)) for j in range(conditions)] for x in at]
