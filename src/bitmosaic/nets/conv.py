"""Convolutional encoder and decoder of VQGAN (arXiv 2012.09841), and of the binary autoencoder after it (arXiv 2304.04820).

We differ in leaving out the branches that the published checkpoints hold but never use (skips of equal width, `logsigma`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm, eps 1e-6; published with 32 groups."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """x + Conv(SiLU(Norm(Conv(SiLU(Norm(x)))))); a 1x1 convolution on the skip where widths differ."""

    def __init__(self, inside: int, outside: int, groups: int = 32):
        super().__init__()
        self.norm1, self.conv1 = norm(inside, groups), nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2, self.conv2 = norm(outside, groups), nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inplace = not torch.is_grad_enabled()  # spares a tensor where none is kept for a backward pass
        h = self.conv1(F.silu(self.norm1(x), inplace))
        h = self.conv2(F.silu(self.norm2(h), inplace))
        return h.add_(self.skip(x)) if inplace else self.skip(x) + h


class Attention2d(nn.Module):
    """Self-attention over all pixels, one head, 1x1 convolutions."""

    def __init__(self, channels: int, groups: int = 32):
        super().__init__()
        self.norm = norm(channels, groups)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))  # (b, hw, c)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halves the sides: pad right and bottom by one, 3x3 convolution with stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the sides: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def encoder(
    channels: int, width: int, multipliers: tuple[int, ...], blocks: int, attention: tuple[bool, ...], out: int, groups: int = 32,
    activation: bool = False,
) -> nn.Sequential:  # fmt: skip
    """(b, channels, H, W) -> (b, out, H / 2^(levels-1), W / 2^(levels-1)). `attention[i]`: attend after each block of level i.

    activation: SiLU after the last norm, as VQGAN has it and Binary Latent Diffusion has not.
    """
    parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
    inside = width
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            parts.append(ResidualBlock(inside, width * multiplier, groups))
            inside = width * multiplier
            if attention[level]:
                parts.append(Attention2d(inside, groups))
        if level < len(multipliers) - 1:
            parts.append(Downsample(inside))
    parts += [ResidualBlock(inside, inside, groups), Attention2d(inside, groups), ResidualBlock(inside, inside, groups)]
    parts += [norm(inside, groups), *[nn.SiLU()] * activation, nn.Conv2d(inside, out, 3, padding=1)]
    return nn.Sequential(*parts)


def decoder(
    channels: int, width: int, multipliers: tuple[int, ...], blocks: int, attention: tuple[bool, ...], inside: int, groups: int = 32,
    norm_first: bool = True, activation: bool = False,
) -> nn.Sequential:  # fmt: skip
    """(b, inside, h, w) -> (b, channels, h * 2^(levels-1), w * 2^(levels-1)); the mirror image of `encoder`."""
    deep = width * multipliers[-1]
    parts: list[nn.Module] = [norm(inside, groups)] if norm_first else []
    parts += [nn.Conv2d(inside, deep, 3, padding=1)]
    parts += [ResidualBlock(deep, deep, groups), Attention2d(deep, groups), ResidualBlock(deep, deep, groups)]
    for level in reversed(range(len(multipliers))):
        for _ in range(blocks):
            parts.append(ResidualBlock(deep, width * multipliers[level], groups))
            deep = width * multipliers[level]
            if attention[level]:
                parts.append(Attention2d(deep, groups))
        if level > 0:
            parts.append(Upsample(deep))
    parts += [norm(deep, groups), *[nn.SiLU()] * activation, nn.Conv2d(deep, channels, 3, padding=1)]
    return nn.Sequential(*parts)
