"""DiffAugment (Zhao et al., arXiv 2006.10738): differentiable changes of colour and translations, of real and generated images alike.

We differ in drawing from a given generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def diffaugment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Images (b, c, H, W) in [0, 1] with random brightness (+-0.25), saturation, contrast, and a shift by up to 1/8 of the sides."""
    b = len(images)

    def uniform():
        return torch.rand(b, 1, 1, 1, generator=rng, device=images.device)

    x = images + 0.5 * (uniform() - 0.5)  # the paper shifts [-1, 1] by up to 0.5
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * uniform()) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (uniform() + 0.5) + mean
    return translate(x, rng)


def translate(images: Tensor, rng: torch.Generator) -> Tensor:
    """Images (b, c, H, W), each shifted by whole pixels, up to 1/8 of each side; zeros move in."""
    b, _, height, width = images.shape
    rows, columns = _shifted(b, height, rng, images.device), _shifted(b, width, rng, images.device)
    padded = F.pad(images, (1, 1, 1, 1))
    index = torch.arange(b, device=images.device)[:, None, None]
    return padded.movedim(1, -1)[index, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _shifted(b: int, side: int, rng: torch.Generator, device) -> Tensor:
    """Source index of each pixel in an axis padded by one zero at both ends, (b, side)."""
    most = max(1, (side + 4) // 8)
    by = torch.randint(-most, most + 1, (b, 1), generator=rng, device=device)
    return (torch.arange(side, device=device) + by + 1).clamp(0, side + 1)
