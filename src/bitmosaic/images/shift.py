"""Images moved partly out of view, with their background in the place of what was not seen: parts of a larger canvas.

A prior that knows whole things in the middle of a background alone begins new things in every window of a larger picture.
"""

from __future__ import annotations

import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.images.background import background_of
from bitmosaic.images.base import ImageSet
from bitmosaic.images.batches import Changed, some_images

LOOKED_AT = 64  # images whose borders say what the background is


def background_pixel(images: ImageSet) -> Tensor:
    """The pixel (C,) uint8 of the background that the images have in common. ValueError where they have none."""
    some = some_images(images, LOOKED_AT)
    name = background_of(some)
    pixel = torch.tensor(ImageColor.getrgb(name)[: some.shape[1]], dtype=torch.uint8)
    edges = torch.cat([some[..., 0, :], some[..., -1, :]], -1)  # a set of no common colour is called white, too
    if ((edges - pixel[:, None].int()).abs() > 32).any(1).float().mean() > 0.5:
        raise ValueError("shift: these images have no background in common that could stand where nothing was seen; leave it 0")
    return pixel


def shifted(images: Tensor, pixel: Tensor, rng: torch.Generator) -> Tensor:
    """Images uint8 (b, C, H, W), each moved by up to half its height and width, drawn evenly; `pixel` (C,) fills in."""
    b, _, height, width = images.shape
    up, left = height // 2, width // 2
    canvas = F.pad(images - pixel[:, None, None], (left, left, up, up)) + pixel[:, None, None]  # modulo 256, so that the fill is `pixel`
    rows = torch.randint(0, 2 * up + 1, (b,), generator=rng).tolist()
    columns = torch.randint(0, 2 * left + 1, (b,), generator=rng).tolist()
    views = [one[:, y : y + height, x : x + width] for one, y, x in zip(canvas, rows, columns, strict=True)]
    return torch.stack(views)


def shifting(images: ImageSet, share: float) -> Changed | None:
    """What `Batches` does to a batch: each image is shifted with probability `share`. None where that is 0; ValueError as above."""
    if not share:
        return None
    pixel = background_pixel(images)

    def changed(batch: Tensor, rng: torch.Generator) -> Tensor:
        moved = torch.rand(len(batch), generator=rng) < share
        return torch.where(moved[:, None, None, None], shifted(batch, pixel, rng), batch)

    return changed
