"""Which images a convolutional network is given together: so many that memory stays, and never one alone where two are no more work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

PIXELS = 64 * 64 * 64  # at once


def batches(images: int, image_size: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Numbers of the images that are given together, and how many of them are asked for.

    One alone is given twice where there is room for two: for a batch of one, oneDNN takes another way to convolve, the last digits
    differ, and with them now and then a pixel; an image should not depend on its batch.
    """
    at_once = max(1, PIXELS // math.prod(image_size))
    for start in range(0, images, at_once):
        some = list(range(start, min(start + at_once, images)))
        yield some * 2 if len(some) == 1 < at_once else some, len(some)
