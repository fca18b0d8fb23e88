"""The nearest image of a set: beside a generated image, it shows whether that was copied from the training images."""

from __future__ import annotations

import torch
from torch import Tensor

from bitmosaic.images import ArrayImages, ImageSet, in_order, to_uint8


def nearest(query: Tensor, images: ImageSet | Tensor, batch_size: int = 250) -> tuple[Tensor, Tensor]:
    """The nearest image to each query, in pixel space: indices (n,) int64 and L2 distances (n,) of values in [0, 1].

    query: (n, C, H, W), and images if a tensor: float in [0, 1], which is rounded to 8 bits, or uint8. Of several at
    one distance the first counts. Exact: |q|^2 + |x|^2 - 2 q.x is a sum of integers, which float64 represents.
    ValueError if sizes differ or no image can be read.
    """
    images = images if isinstance(images, ImageSet) else ArrayImages(to_uint8(images).cpu())
    shape = (images.channels, *images.size)
    if query.ndim != 4 or tuple(query.shape[1:]) != shape:
        raise ValueError(f"query: got {tuple(query.shape)}; want (n, {', '.join(map(str, shape))})")
    q = to_uint8(query.detach()).cpu().flatten(1).double()
    best, indices = q.new_full((len(q),), float("inf")), torch.full((len(q),), -1)
    for batch in in_order(images, batch_size):
        x = batch.images.flatten(1).double()
        least, at = (q.square().sum(1)[:, None] + x.square().sum(1) - 2 * q @ x.T).min(1)
        closer = least < best
        best, indices = torch.where(closer, least, best), torch.where(closer, batch.indices[at], indices)
    if best.isinf().any():
        raise ValueError(f"images: none of {len(images)} can be read; {images.unreadable_summary(at_most=3)}")
    return indices, best.sqrt() / 255
