"""The background of a set of images, on which transparent pictures are laid: the colour of most of their borders, if there is one."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR = 16  # of 255 in every channel: as good as the same
COMMON = 0.5  # of all pixels of the borders


def background_of(images: Tensor) -> str:
    """The colour, by name or as "#336699", of images uint8 (n, C, H, W); "white" where their borders have none in common."""
    edges = images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]
    border = torch.cat([edge.movedim(1, -1).flatten(0, -2) for edge in edges]).int()  # (pixels, C)
    middle = border.median(0).values
    if ((border - middle).abs() <= NEAR).all(1).float().mean() < COMMON:
        return "white"
    if (middle <= NEAR).all():
        return "black"
    if (middle >= 255 - NEAR).all():
        return "white"
    return "#" + "".join(f"{int(value):02x}" for value in middle.expand(3))
