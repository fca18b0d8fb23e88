"""The discriminator of spectrally normalised DCGAN (Miyato et al., arXiv 1802.05957, table 3), as StudioGAN has it, with projection.

We differ in a free number of levels and free sides; StudioGAN's has three levels, for 32 x 32 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bitmosaic.nets.discriminators.base import EPS, Discriminator, DiscriminatorSpec, ProjectionHead, check_halves, doubled, start_normal


@dataclass(frozen=True)
class DeepConvDiscriminatorSpec(DiscriminatorSpec):
    """Sizes of a discriminator of spectrally normalised convolutions."""

    width: int = 8  # channels of the first level; each level has twice as many; published 64
    levels: int = 2  # each halves the sides
    slope: float = 0.1  # of the activation below zero

    def __post_init__(self):
        check_halves(self.image_size, self.levels)
        if min(self.width, self.channels) < 1 or self.classes < 0:
            raise ValueError(f"width {self.width} and channels {self.channels} must be at least 1, classes {self.classes} not negative")

    def build(self) -> DeepConvDiscriminator:
        return DeepConvDiscriminator(self)


class DeepConvDiscriminator(Discriminator):
    """At each level a 3 x 3 convolution and one of 4 x 4 that halves the sides; a last 3 x 3, the sum over all places, a linear layer."""

    def __init__(self, spec: DeepConvDiscriminatorSpec):
        super().__init__()
        self.spec = spec
        self.convs = nn.ModuleList()
        inside = spec.channels
        for outside in doubled(spec.width, spec.levels):
            self.convs += [nn.Conv2d(inside, outside, 3, padding=1), nn.Conv2d(outside, outside, 4, stride=2, padding=1)]
            inside = outside
        self.convs.append(nn.Conv2d(inside, 2 * inside, 3, padding=1))
        start_normal(self)
        for conv in self.convs:
            spectral_norm(conv, eps=EPS)
        self.head = ProjectionHead(2 * inside, spec.classes)

    def features(self, images: Tensor) -> Tensor:
        """Images (b, C, H, W) in [0, 1] -> features for the head, (b, D)."""
        h = images * 2 - 1
        for conv in self.convs:
            h = F.leaky_relu(conv(h), self.spec.slope)
        return h.sum((2, 3))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.head(self.features(images), labels)
