"""Augmented views of each image, encoded once: its mirror image, or ten crops as in LlamaGen (arXiv 2406.06525).

We differ in one scale of crops, 1.1 times the size, where LlamaGen has two.
"""

import torch
from torch import Tensor

from .read import Size, as_size, read_image

VIEWS = {"plain": 1, "flip": 2, "ten-crop": 10}  # views of each image
SCALE = 1.1  # of the image that ten crops are cut from, over their size


def read_views(image, size: Size, channels: int, views: str) -> tuple[Tensor, Tensor]:
    """An image as `read_image` takes it -> what its views are cut from (C, H', W'), and the views (v, C, H, W), uint8.

    plain: the centre. flip: the centre, and its mirror. ten-crop: of the centre at 1.1 times the size, the crops at top left, top right,
    bottom left, bottom right and in the middle, then the mirrors of these five.
    UnreadableImage as from `read_image`.
    """
    height, width = as_size(size)
    if views != "ten-crop":
        whole = read_image(image, size, channels)
        return whole, torch.stack([whole] if views == "plain" else [whole, whole.flip(-1)])
    whole = read_image(image, (round(SCALE * height), round(SCALE * width)), channels)
    down, across = whole.shape[1] - height, whole.shape[2] - width
    corners = ((0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2))
    crops = torch.stack([whole[:, top : top + height, left : left + width] for top, left in corners])
    return whole, torch.cat([crops, crops.flip(-1)])
