"""Heat maps: numbers as colours over an image."""

from __future__ import annotations

import torch
from torch import Tensor


def heat(values: Tensor, image: Tensor | None = None, colours: str = "inferno", strength: float = 0.75) -> Tensor:
    """Values (rows, columns) in [0, 1] as colours, (3, H, W) in [0, 1], one cell each, over an image (C, H, W) in [0, 1] of which they
    cover `strength`; without one, a pixel each. colours: a colour map of matplotlib.

    ValueError where the image's sides are no multiples of rows and columns.
    """
    import matplotlib

    shade = torch.from_numpy(matplotlib.colormaps[colours](values.clamp(0, 1).numpy())[..., :3]).float().movedim(-1, 0)
    if image is None:
        return shade
    (rows, columns), (height, width) = values.shape, image.shape[-2:]
    if height % rows or width % columns:
        raise ValueError(f"image: got {width} x {height} pixels for {columns} x {rows} values; its sides must be multiples")
    shade = shade.repeat_interleave(height // rows, 1).repeat_interleave(width // columns, 2)
    return strength * shade + (1 - strength) * image.expand(3, -1, -1)
