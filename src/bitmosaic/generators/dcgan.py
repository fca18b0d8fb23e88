"""DCGAN (Radford et al., arXiv 1511.06434) as StudioGAN has it (arXiv 2206.09479), with conditional batch normalisation.

We differ in a free number of levels and free sides: 28 x 28 pixels are 7 x 7 doubled twice; StudioGAN's has three levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.generators.base import Generator, GeneratorSpec
from bitmosaic.nets.conditional_norm import EPS, ConditionalBatchNorm2d
from bitmosaic.nets.discriminators.base import check_halves, doubled, start_normal


@dataclass(frozen=True)
class DCGANSpec(GeneratorSpec):
    """Sizes of a DCGAN, a network of transposed convolutions."""

    width: int = 8  # channels of the last level; each level before has twice as many; published 64
    levels: int = 2  # each doubles the sides
    embedding: int = 8  # numbers of the condition
    slope: float = 0.0  # of the activation below zero; 0: ReLU

    def __post_init__(self):
        check_halves(self.image_size, self.levels)
        if min(self.width, self.channels, self.latent, self.embedding) < 1:
            raise ValueError(
                f"width {self.width}, channels {self.channels}, latent {self.latent} and embedding {self.embedding} must be at least 1"
            )

    def build(self) -> DCGAN:
        return DCGAN(self)


class DCGAN(Generator):
    """A linear layer to the smallest sides; levels of 4 x 4 transposed convolution, normalisation and ReLU; a 3 x 3 convolution, tanh."""

    def __init__(self, spec: DCGANSpec):
        super().__init__()
        self.spec = spec
        self.start = tuple(side // 2**spec.levels for side in spec.image_size)
        inside, *widths = reversed(doubled(spec.width, spec.levels + 1))
        self.condition = spec.condition.build(spec.embedding)
        self.classes = self.condition.classes
        if not self.classes:
            self.condition = None  # then batch normalisation keeps its own gains and biases
        self.linear = nn.Linear(spec.latent, inside * self.start[0] * self.start[1])
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for outside in widths:
            self.convs.append(nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1))
            norm = ConditionalBatchNorm2d(outside, spec.embedding) if self.classes else nn.BatchNorm2d(outside, EPS)
            self.norms.append(norm)
            inside = outside
        self.out = nn.Conv2d(inside, spec.channels, 3, padding=1)
        start_normal(self)
        if self.classes:
            nn.init.normal_(self.condition.table.weight)  # standard normal, so that classes differ from the start

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.linear(z).unflatten(1, (-1, *self.start))
        told = () if self.condition is None else (self.condition(labels, len(z)).vector,)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h), *told), self.spec.slope)
        return (self.out(h).tanh() + 1) / 2
