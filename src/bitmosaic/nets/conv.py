"""Convolutional encoder and decoder of VQGAN (arXiv 2012.09841) and of its relatives, which differ in a few parts: see `FAMILIES`.

We differ in leaving out the branches that the published checkpoints hold but never use (skips of equal width, `logsigma`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """GroupNorm, eps 1e-6; published with 32 groups."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """x + Conv(SiLU(Norm(Conv(SiLU(Norm(x)))))); a 1x1 convolution on the skip where widths differ. bias: of the convolutions."""

    def __init__(self, inside: int, outside: int, groups: int = 32, bias: bool = True):
        super().__init__()
        self.norm1, self.conv1 = norm(inside, groups), nn.Conv2d(inside, outside, 3, padding=1, bias=bias)
        self.norm2, self.conv2 = norm(outside, groups), nn.Conv2d(outside, outside, 3, padding=1, bias=bias)
        self.skip = nn.Conv2d(inside, outside, 1, bias=bias) if inside != outside else nn.Identity()

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


class StridedDownsample(nn.Module):
    """Halves the sides, rounded up: 3x3 convolution with stride 2, padded by one on all sides."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DepthToSpace(nn.Module):
    """Doubles the sides: a 3x3 convolution to 4 c channels, of which channel (2 i + j) c + k becomes pixel (i, j) of channel k.

    This is the order of TensorFlow's depth_to_space, not that of torch's pixel_shuffle.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return self.conv(x).view(b, 2, 2, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c, 2 * h, 2 * w)


class AdaptiveNorm(nn.Module):
    """GroupNorm whose scale and shift are linear in the standard deviation and mean of each channel of the codes (Open-MAGVIT2)."""

    def __init__(self, codes: int, channels: int, groups: int = 32):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6, affine=False)
        self.scale, self.shift = nn.Linear(codes, channels), nn.Linear(codes, channels)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """x (b, channels, H, W) and the decoder's input (b, codes, h, w)."""
        flat = codes.flatten(2)
        deviation = (flat.var(-1, correction=min(1, flat.shape[-1] - 1)) + 1e-6).sqrt()  # one place has none
        return self.scale(deviation)[..., None, None] * self.norm(x) + self.shift(flat.mean(-1))[..., None, None]


class AdaptiveDecoder(nn.Sequential):
    """A decoder in which every `AdaptiveNorm` sees the decoder's input."""

    def forward(self, codes: Tensor) -> Tensor:
        x = codes
        for part in self:
            x = part(x, codes) if isinstance(part, AdaptiveNorm) else part(x)
        return x


@dataclass(frozen=True)
class Family:
    """The parts by which published encoders and decoders differ."""

    down: type[nn.Module]
    up: type[nn.Module]
    middle_attends: bool  # the deepest part is Res, Attention, Res; else as many residual blocks as a level has
    bias: bool  # of residual blocks and of the encoder's first convolution
    last_kernel: int  # of the encoder's last convolution
    more: int  # residual blocks that a level of the decoder has more than one of the encoder
    adaptive: bool  # an `AdaptiveNorm` before each level of the decoder

    def middle(self, width: int, blocks: int, groups: int) -> list[nn.Module]:
        """The deepest part, of a network whose levels have so many residual blocks."""
        if self.middle_attends:
            return [self.residual(width, width, groups), Attention2d(width, groups), self.residual(width, width, groups)]
        return [self.residual(width, width, groups) for _ in range(blocks)]

    def residual(self, inside: int, outside: int, groups: int) -> ResidualBlock:
        """A residual block."""
        return ResidualBlock(inside, outside, groups, self.bias)


FamilyName = Literal["taming", "simvq", "open-magvit2"]
FAMILIES: dict[FamilyName, Family] = {
    # taming-transformers; LlamaGen (2406.06525), IBQ (2412.02692) and VQGAN-LC (2406.11837) differ in sizes and in which levels attend
    "taming": Family(Downsample, Upsample, True, True, 3, 1, False),
    # SimVQ (2411.02038), and Open-MAGVIT2 in its first release: no attention, depth to space
    "simvq": Family(StridedDownsample, DepthToSpace, False, False, 1, 0, False),
    # Open-MAGVIT2 (2409.04410): the same, and normalisation by the codes
    "open-magvit2": Family(StridedDownsample, DepthToSpace, False, False, 1, 0, True),
}


def encoder(
    channels: int, width: int, multipliers: tuple[int, ...], blocks: int, attention: tuple[bool, ...], out: int, groups: int = 32,
    activation: bool = False, family: Family = FAMILIES["taming"],
) -> nn.Sequential:  # fmt: skip
    """(b, channels, H, W) -> (b, out, H / 2^(levels-1), W / 2^(levels-1)). `attention[i]`: attend after each block of level i.

    activation: SiLU after the last norm, as VQGAN has it and Binary Latent Diffusion has not.
    """
    parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=family.bias)]
    inside = width
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            parts.append(family.residual(inside, width * multiplier, groups))
            inside = width * multiplier
            if attention[level]:
                parts.append(Attention2d(inside, groups))
        if level < len(multipliers) - 1:
            parts.append(family.down(inside))
    parts += family.middle(inside, blocks, groups)
    last = nn.Conv2d(inside, out, family.last_kernel, padding=family.last_kernel // 2)
    return nn.Sequential(*parts, norm(inside, groups), *[nn.SiLU()] * activation, last)


def decoder(
    channels: int, width: int, multipliers: tuple[int, ...], blocks: int, attention: tuple[bool, ...], inside: int, groups: int = 32,
    norm_first: bool = True, activation: bool = False, family: Family = FAMILIES["taming"],
) -> nn.Sequential:  # fmt: skip
    """(b, inside, h, w) -> (b, channels, h * 2^(levels-1), w * 2^(levels-1)); the mirror image of `encoder`. blocks: of a level here."""
    deep = width * multipliers[-1]
    parts: list[nn.Module] = [norm(inside, groups)] if norm_first else []
    parts += [nn.Conv2d(inside, deep, 3, padding=1), *family.middle(deep, blocks, groups)]
    for level in reversed(range(len(multipliers))):
        if family.adaptive:
            parts.append(AdaptiveNorm(inside, deep, groups))
        for _ in range(blocks):
            parts.append(family.residual(deep, width * multipliers[level], groups))
            deep = width * multipliers[level]
            if attention[level]:
                parts.append(Attention2d(deep, groups))
        if level > 0:
            parts.append(family.up(deep))
    parts += [norm(deep, groups), *[nn.SiLU()] * activation, nn.Conv2d(deep, channels, 3, padding=1)]
    return (AdaptiveDecoder if family.adaptive else nn.Sequential)(*parts)
