"""Conditional batch normalisation (de Vries et al., arXiv 1707.00683; Miyato and Koyama, arXiv 1802.05637): a condition sets gain and bias.

We differ in taking the condition as a vector, of which a class is one case, as StudioGAN's code has it for its larger generators.
"""

from __future__ import annotations

from torch import Tensor, nn

EPS = 1e-4  # StudioGAN's


class ConditionalBatchNorm2d(nn.Module):
    """(1 + W_g c) BN(x) + W_b c of x (b, C, H, W) and a condition c (b, D)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, EPS, affine=False)
        self.gain, self.bias = (nn.Linear(width, channels, bias=False) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain, bias = (f(condition)[:, :, None, None] for f in (self.gain, self.bias))
        return self.norm(x) * (1 + gain) + bias
