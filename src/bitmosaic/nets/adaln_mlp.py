"""The head's network: an MLP modulated by a condition and a timestep (MAR, arXiv 2406.11838, section 3.3; used by BiGR, 2410.14672).

We differ in taking the embedded timestep and condition as two arguments, so that each is computed once (E2 in docs/performance.md).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoid(t: Tensor, width: int, period: float = 10000.0) -> Tensor:
    """Timesteps (n,) -> (n, width): cosines first, then sines."""
    half = width // 2
    frequency = torch.exp(-math.log(period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class ModulatedBlock(nn.Module):
    """x + gate * MLP(LN(x) (1 + scale) + shift); shift, scale, gate = Linear(SiLU(c))."""

    def __init__(self, width: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """x (..., H); active = SiLU(c) (..., H)."""
        shift, scale, gate = self.modulation(active).chunk(3, -1)
        h = torch.addcmul(shift, _layer_norm(x), 1 + scale)
        return torch.addcmul(x, gate, self.outer(F.silu(self.inner(h))))


class AdaLNMLP(nn.Module):
    """(x, timestep, condition) -> K logits, for each place by itself."""

    def __init__(self, bits: int, condition: int, width: int, depth: int):
        super().__init__()
        self.from_bits, self.from_condition = nn.Linear(bits, width), nn.Linear(condition, width)
        self.time1, self.time2 = nn.Linear(256, width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width) for _ in range(depth))
        self.modulation, self.out = nn.Linear(width, 2 * width), nn.Linear(width, bits)

    def embed_time(self, t: Tensor) -> Tensor:
        """Embeds timesteps t - 1, (n,) -> (n, H)."""
        return self.time2(F.silu(self.time1(sinusoid(t, 256).to(self.from_bits.weight.dtype))))

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """x (..., K) in {-1, +1}; time and condition (..., H) as embedded -> logits (..., K)."""
        active = F.silu(time + condition)
        h = self.from_bits(x)
        for block in self.blocks:
            h = block(h, active)
        shift, scale = self.modulation(active).chunk(2, -1)
        return self.out(torch.addcmul(shift, _layer_norm(h), 1 + scale))
