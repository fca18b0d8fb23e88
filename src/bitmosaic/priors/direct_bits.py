"""Direct bits: every bit of a place by itself, by binary cross-entropy; what BiGR's diffusion is compared with (arXiv 2410.14672).

By design it cannot model dependence between the bits of a place. We differ in giving it as many residual blocks as a diffusion head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.adaln_mlp import ModulatedBlock
from bitmosaic.priors.head import BitByBit, Head, HeadSpec, guided


@dataclass(frozen=True)
class DirectBitsSpec(HeadSpec):
    """Sizes of the head."""

    width: int = 16  # H
    depth: int = 1  # blocks

    def __post_init__(self):
        if min(self.width, self.depth) < 1:
            raise ValueError(f"width {self.width} and depth {self.depth} must be at least 1")

    def build(self, bits: int, condition: int) -> DirectBits:
        return DirectBits(self, bits, condition)


class BitsMLP(nn.Module):
    """Conditions (..., D) -> K logits."""

    def __init__(self, bits: int, condition: int, width: int, depth: int):
        super().__init__()
        self.from_condition = nn.Linear(condition, width)
        self.blocks = nn.ModuleList(ModulatedBlock(width) for _ in range(depth))
        self.out = nn.Linear(width, bits)

    def forward(self, condition: Tensor) -> Tensor:
        h = self.from_condition(condition)
        active = F.silu(h)
        for block in self.blocks:
            h = block(h, active)
        return self.out(h)


class DirectBits(Head):
    """P(bits) is a product over the bits."""

    def __init__(self, spec: DirectBitsSpec, bits: int, condition: int):
        super().__init__()
        self.spec, self.bits, self.told, self.net = spec, bits, bits, BitsMLP(bits, condition, spec.width, spec.depth)

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.net(condition).float(), x_0.float())

    def draws(self, evaluations: int) -> int:
        return 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        p = torch.sigmoid(guided(self.net(conditions), guidance_scale))
        return p > (uniform() if sample_last else 0.5), p

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        return torch.sigmoid(guided(self.net(conditions), guidance_scale))

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        logits = guided(self.net(conditions), 1.0)
        yield torch.arange(self.bits, device=logits.device).expand(logits.shape), logits
