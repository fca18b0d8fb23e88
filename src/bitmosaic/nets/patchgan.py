"""PatchGAN discriminator (Isola et al., arXiv 1611.07004): one logit for each overlapping patch.

We differ in nothing; weights start from N(0, 0.02) as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class PatchGANSpec(Spec):
    """Sizes of a PatchGAN."""

    channels: int = 3  # of the image
    width: int = 8  # channels of the first layer, published 64
    layers: int = 2  # layers that halve the sides, published 3

    def __post_init__(self):
        if min(self.channels, self.width, self.layers) < 1:
            raise ValueError(f"channels {self.channels}, width {self.width} and layers {self.layers} must be at least 1")

    def build(self) -> PatchGAN:
        return PatchGAN(self)


class PatchGAN(nn.Module):
    """(b, channels, H, W) in [0, 1] -> patch logits (b, 1, h, w), positive for real. Sides are at least 2^layers * 3 pixels."""

    def __init__(self, spec: PatchGANSpec):
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        inside = spec.channels
        for layer in range(spec.layers + 1):
            outside = spec.width * min(2**layer, 8)
            last = layer == spec.layers
            self.convs.append(nn.Conv2d(inside, outside, 4, stride=1 if last else 2, padding=1, bias=layer == 0))
            self.norms.append(nn.BatchNorm2d(outside) if layer else nn.Identity())
            inside = outside
        self.out = nn.Conv2d(inside, 1, 4, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor) -> Tensor:
        h = images * 2 - 1
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h)), 0.2)
        return self.out(h)
