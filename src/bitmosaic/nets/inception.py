"""Inception-v3 (Szegedy et al., arXiv 1512.00567) in the variant whose features define the FID (Heusel et al., arXiv 1706.08500).

That is TensorFlow's graph of 2015-12-05: 1,008 classes, average pooling that leaves padding out of its mean, maximum pooling in the last
block, and images enlarged as TensorFlow 1 did. Tensors have the names of the weights file that pytorch-fid and torch-fidelity publish.
We differ in returning all outputs that evaluation needs from one pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REFERENCE = "6726825d"  # first digits of the SHA-256 of the published weights file, as in its name
SIDE = 299  # pixels of the network's input
SPATIAL = 7  # channels of the map that gives sFID's spatial features: 7 x 17 x 17 = 2023 numbers (Nash et al., arXiv 2103.03841)


class InceptionV3(nn.Module):
    """uint8 images (b, 3, H, W) -> pooled features (b, 2048), spatial features (b, 2023), logits without bias (b, 1008)."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (_C(768, middle) for middle in (128, 160, 160, 192))
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, _average), _E(2048, _maximum)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images: got {images.dtype} {tuple(images.shape)}; this network takes uint8 (b, 3, H, W)")
        x = (enlarge(images.float(), SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        spatial = self.Mixed_6d.branch1x1(x)[:, :SPATIAL].flatten(1)
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        pooled = self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))
        return pooled, spatial, F.linear(pooled, self.fc.weight)


def enlarge(images: Tensor, side: int) -> Tensor:
    """Bilinear resizing (b, c, H, W) -> (b, c, side, side) as TensorFlow 1 did it: pixel i of n lies at i * H / n, not at its centre."""

    def between(length: int) -> tuple[Tensor, Tensor, Tensor]:
        at = torch.arange(side, dtype=torch.float32, device=images.device) * (length / side)
        low = at.floor().long().clamp(max=length - 1)
        return low, (low + 1).clamp(max=length - 1), at - low

    low, high, share = between(images.shape[3])
    x = images[..., low] + (images[..., high] - images[..., low]) * share
    low, high, share = between(images.shape[2])
    return x[:, :, low] + (x[:, :, high] - x[:, :, low]) * share[:, None]


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1)


class _Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; a pair of sides is padded to keep the size."""

    def __init__(self, inside: int, outside: int, side: int | tuple[int, int], stride: int = 1, padding: int = 0):
        super().__init__()
        around = tuple(s // 2 for s in side) if isinstance(side, tuple) else padding
        self.conv = nn.Conv2d(inside, outside, side, stride, around, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _A(nn.Module):
    def __init__(self, inside: int, pooled: int):
        super().__init__()
        self.branch1x1 = _Conv(inside, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(inside, 48, 1), _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inside, 64, 1), _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(inside, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))], 1)


class _B(nn.Module):
    def __init__(self, inside: int):
        super().__init__()
        self.branch3x3 = _Conv(inside, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inside, 64, 1), _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, inside: int, middle: int):
        super().__init__()
        self.branch1x1 = _Conv(inside, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = _Conv(inside, middle, 1), _Conv(middle, middle, (1, 7))
        self.branch7x7_3 = _Conv(middle, 192, (7, 1))
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(inside, middle, 1), _Conv(middle, middle, (7, 1))
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _Conv(middle, middle, (1, 7)), _Conv(middle, middle, (7, 1))
        self.branch7x7dbl_5 = _Conv(middle, 192, (1, 7))
        self.branch_pool = _Conv(inside, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class _D(nn.Module):
    def __init__(self, inside: int):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(inside, 192, 1), _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(inside, 192, 1), _Conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = _Conv(192, 192, (7, 1)), _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, inside: int, pool):
        super().__init__()
        self.pool = pool
        self.branch1x1 = _Conv(inside, 320, 1)
        self.branch3x3_1 = _Conv(inside, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _Conv(384, 384, (1, 3)), _Conv(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inside, 448, 1), _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _Conv(384, 384, (1, 3)), _Conv(384, 384, (3, 1))
        self.branch_pool = _Conv(inside, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        single = [self.branch3x3_2a(single), self.branch3x3_2b(single)]
        double = [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *single, *double, self.branch_pool(self.pool(x))], 1)
