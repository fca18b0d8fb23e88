"""VQ-VAE (van den Oord et al., arXiv 1711.00937) for signals of one, two or three axes: sound as in Jukebox (arXiv 2005.00341), clips as in
VideoGPT (arXiv 2104.10157), pictures.

We differ in any quantizer of one vector a place, and in normalising its input to unit RMS: an untrained encoder's vectors are otherwise so
small that one codeword takes them all, and nothing is learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.media import Medium, Waves
from bitmosaic.quantizers.base import QuantizerSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.tokenizers.base import TokenizerSpec
from bitmosaic.tokenizers.vectors import VectorTokenizer

CONVOLUTIONS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}


@dataclass(frozen=True)
class VQVAESpec(TokenizerSpec):
    """Sizes of a VQ-VAE; each level halves the axes whose factor is not reached yet."""

    medium: Medium = Waves()
    size: tuple[int, ...] = (32,)  # of a signal along each axis of its medium: samples, or frames, height and width
    channels: int = 1
    factors: tuple[int, ...] = (4,)  # samples, frames or pixels of a place along each axis, powers of two
    quantizer: QuantizerSpec = NearestSpec()
    width: int = 16  # channels of all levels
    residual_blocks: int = 2  # behind each level
    dilation: int = 1  # block i of a level has dilation^i: 3 for sound, as in Jukebox; 1 for none

    def __post_init__(self):
        self.medium.check_size(self.size)
        if min(self.channels, self.width, self.residual_blocks + 1, self.dilation) < 1:
            raise ValueError("channels, width and dilation must be positive, residual_blocks not negative")
        if len(self.factors) != len(self.size) or any(f < 1 or f & (f - 1) for f in self.factors) or max(self.factors) < 2:
            raise ValueError(f"factors: got {self.factors}; want one for each of {len(self.size)} axes, powers of two, not all 1")
        if any(extent % factor for extent, factor in zip(self.size, self.factors, strict=True)):
            raise ValueError(f"size: got {self.size}, which is not divisible by the factors {self.factors}")

    @property
    def grid(self) -> tuple[int, ...]:
        return tuple(extent // factor for extent, factor in zip(self.size, self.factors, strict=True))

    @property
    def radix(self) -> tuple[int, ...]:
        return self.quantizer.radix

    @property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """The stride of each level, finest first: 2 along the axes that it halves, else 1."""
        return tuple(tuple(1 + (f > 2**level) for f in self.factors) for level in range(int(math.log2(max(self.factors)))))

    def build(self) -> VQVAE:
        return VQVAE(self)


class Residual(nn.Module):
    """x + conv1(ReLU(conv3(ReLU(x)))), the first dilated."""

    def __init__(self, axes: int, width: int, dilation: int):
        super().__init__()
        conv, _ = CONVOLUTIONS[axes]
        self.inside, self.out = conv(width, width, 3, padding=dilation, dilation=dilation), conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.relu(self.inside(F.relu(x))))


class VQVAE(VectorTokenizer):
    """Signals -> one vector a place -> digits of the quantizer -> signals; the decoder has no last activation, `decode` clamps."""

    def __init__(self, spec: VQVAESpec):
        super().__init__()
        self.spec, self.channels, self.radix, self.image_size = spec, spec.channels, spec.radix, spec.size
        self.medium, self.axes = spec.medium, len(spec.size)
        self.centre, self.half = (spec.medium.high + spec.medium.low) / 2, (spec.medium.high - spec.medium.low) / 2  # of the range
        self.factor = spec.factors[0] if len(spec.factors) == 2 and len(set(spec.factors)) == 1 else None
        self.quantizer = spec.quantizer.build()
        axes, width = len(spec.size), spec.width
        conv, transposed = CONVOLUTIONS[axes]
        blocks = [spec.dilation**i for i in range(spec.residual_blocks)]
        down: list[nn.Module] = [conv(spec.channels, width, 3, padding=1)]
        up: list[nn.Module] = [conv(self.quantizer.width, width, 3, padding=1)]
        for stride in spec.strides:  # kernel 4 with stride 2, 3 with stride 1, so that sizes stay exact
            kernel = tuple(2 + s for s in stride)
            down += [nn.ReLU(), conv(width, width, kernel, stride, 1), *(Residual(axes, width, d) for d in blocks)]
        for stride in reversed(spec.strides):
            kernel = tuple(2 + s for s in stride)
            up += [*(Residual(axes, width, d) for d in reversed(blocks)), nn.ReLU(), transposed(width, width, kernel, stride, 1)]
        self.encoder = nn.Sequential(*down)
        self.to_codes = nn.Linear(width, self.quantizer.width)
        self.decoder = nn.Sequential(*up, nn.ReLU(), conv(width, spec.channels, 3, padding=1))

    @property
    def factors(self) -> tuple[int, ...]:
        return self.spec.factors

    def vectors(self, signals: Tensor) -> Tensor:
        """(b, c, *size) -> what is quantized, (b, *grid, d)."""
        h = self.encoder((signals - self.centre) / self.half).movedim(1, -1)
        return self.to_codes(F.rms_norm(h, h.shape[-1:]))

    def signals(self, z: Tensor) -> Tensor:
        """Quantized vectors (b, *grid, d) -> (b, c, *size), not clamped."""
        return self.decoder(z.movedim(-1, 1)) * self.half + self.centre
