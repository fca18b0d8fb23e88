"""Batches of images for convolutional networks: limited by memory, and never of one image, which oneDNN convolves differently."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

PIXELS = 64 * 64 * 64  # of a batch


def batches(images: int, image_size: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """For each batch the indices of its images, and how many of these count.

    A single image is repeated where two fit: oneDNN convolves a batch of one by another algorithm, whose last digits differ and now and
    then change a pixel; an image should not depend on its batch.
    """
    at_once = max(1, PIXELS // math.prod(image_size))
    for start in range(0, images, at_once):
        some = list(range(start, min(start + at_once, images)))
        yield some * 2 if len(some) == 1 < at_once else some, len(some)
