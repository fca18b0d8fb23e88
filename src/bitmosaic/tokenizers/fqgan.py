"""FQGAN's tokenizer (Bai et al., arXiv 2411.16681, section 3.1): one encoder, and for each codebook a branch of its own, which a
transformer adapts from the encoder's features; the decoder sees the codewords of all branches side by side.

We differ in images in [0, 1], and in other sides than those trained for, to which the adapters' positions are interpolated. The
representation loss is not the tokenizer's but its training's (`losses/representation.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets import conv
from bitmosaic.nets.vit import ViTBlock
from bitmosaic.quantizers.product import FactorizedSpec
from bitmosaic.tokenizers.vectors import LevelsSpec, VectorTokenizer


@dataclass(frozen=True)
class FQGANSpec(LevelsSpec):
    """Sizes of an FQGAN; the factor is 2^(levels - 1), and there are as many branches as the quantizer has parts."""

    image_size: tuple[int, int] = (16, 16)  # height, width in pixels
    channels: int = 3  # of the image
    quantizer: FactorizedSpec = FactorizedSpec()
    width: int = 32  # channels at full resolution
    multipliers: tuple[int, ...] = (1, 2)  # width of each level over `width`
    residual_blocks: int = 1  # at each level of the encoder; the decoder has one more
    embedding: int = 32  # z_channels, between the networks and the 1x1 convolutions around the quantizer
    adapter_depth: int = 1  # blocks of each branch's adapter, published 6
    adapter_heads: int = 4  # of its attention, published 8
    groups: int = 32  # of GroupNorm

    def __post_init__(self):
        sizes = (*self.image_size, self.channels, self.width, *self.multipliers, self.embedding, self.groups, self.adapter_heads)
        if min(sizes) < 1 or not self.multipliers or min(self.residual_blocks, self.adapter_depth) < 0:
            raise ValueError("image_size, channels, width, multipliers, embedding, adapter_heads and groups must be positive")
        if self.width % self.groups or self.deepest % self.adapter_heads:
            what = f"width {self.width} must be a multiple of {self.groups} groups"
            raise ValueError(f"{what}, and {self.deepest} at the lowest resolution of {self.adapter_heads} heads")
        if any(side % self.factor for side in self.image_size):
            raise ValueError(f"image_size {self.image_size} is not divisible by {self.factor}, as {len(self.multipliers)} levels need")

    @property
    def deepest(self) -> int:
        """Channels at the lowest resolution."""
        return self.width * self.multipliers[-1]

    def build(self) -> FQGAN:
        return FQGAN(self)


class FQGAN(VectorTokenizer):
    """Images in [0, 1] -> a vector of each branch at each place -> an index of each -> images; `decode` clamps."""

    decoding = ("from_codes", "decoder")

    def __init__(self, spec: FQGANSpec):
        super().__init__()
        self.spec, self.channels, self.factor, self.image_size = spec, spec.channels, spec.factor, spec.image_size
        sizes, blocks = (spec.channels, spec.width, spec.multipliers), spec.residual_blocks
        lowest = tuple(level == len(spec.multipliers) - 1 for level in range(len(spec.multipliers)))  # which attends
        self.quantizer = spec.quantizer.build()
        self.encoder = conv.encoder(*sizes, blocks, lowest, spec.embedding, spec.groups, activation=True)[:-3]
        self.branches = nn.ModuleList(self._branch(width) for width in self.quantizer.widths)
        self.from_codes = nn.Conv2d(self.quantizer.width, spec.embedding, 1)  # post_quant_conv
        self.decoder = conv.decoder(*sizes, blocks + 1, lowest, spec.embedding, spec.groups, norm_first=False, activation=True)
        self.radix = self.quantizer.radix

    def _branch(self, width: int) -> nn.Sequential:
        spec, deep = self.spec, self.spec.deepest
        adapter = Adapter(spec.grid, deep, spec.adapter_heads, spec.adapter_depth)
        out = nn.Conv2d(deep, spec.embedding, 3, padding=1)
        return nn.Sequential(adapter, conv.norm(deep, spec.groups), nn.SiLU(), out, nn.Conv2d(spec.embedding, width, 1))

    def vectors(self, images: Tensor) -> Tensor:
        """(b, c, H, W) in [0, 1] -> what is quantized, (b, h, w, sum of the branches' widths)."""
        h = self.encoder(2 * images - 1)
        return torch.cat([branch(h) for branch in self.branches], 1).movedim(1, -1)

    def signals(self, z: Tensor) -> Tensor:
        """Quantized vectors (b, h, w, d) -> (b, c, H, W), not clamped."""
        return (self.decoder(self.from_codes(z.movedim(-1, 1))) + 1) / 2


class Adapter(nn.Module):
    """A transformer over all places of features (b, c, h, w), with learned positions."""

    def __init__(self, grid: tuple[int, int], width: int, heads: int, depth: int):
        super().__init__()
        self.grid = grid
        self.positions = nn.Parameter(torch.randn(grid[0] * grid[1], width) * width**-0.5)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, heads, 4 * width, bias=True) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm_in(x.flatten(2).transpose(1, 2) + self._positions(x.shape[2:]))
        for block in self.blocks:
            h = block(h)
        return self.norm_out(h).transpose(1, 2).reshape(x.shape)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(h w, c), interpolated where the grid is another."""
        if tuple(grid) == self.grid:
            return self.positions
        planes = self.positions.T.reshape(1, -1, *self.grid)
        return F.interpolate(planes, tuple(grid), mode="bicubic", align_corners=False)[0].flatten(1).T
