"""Categorical: the K bits of a place are one index of 2^K, drawn by softmax; the head of S0 and S1 of BiGR (arXiv 2410.14672).

We differ in drawing the index bit by bit, most significant first, down the binary tree of indices: the same distribution, and a
probability for each bit, as other heads give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.priors.head import BitByBit, Head, HeadSpec, guided

MOST = 16  # bits of an index; the last layer has 2^K rows


@dataclass(frozen=True)
class CategoricalSpec(HeadSpec):
    """One linear layer, without settings."""

    def build(self, bits: int, condition: int) -> Categorical:
        return Categorical(self, bits, condition)


class Categorical(Head):
    """P(index), one logit for each of 2^K."""

    def __init__(self, spec: CategoricalSpec, bits: int, condition: int):
        super().__init__()
        if bits > MOST:
            raise ValueError(f"head: {bits} bits are {2**bits:,} indices; a categorical head takes at most {MOST} bits")
        self.spec, self.bits, self.told, self.net = spec, bits, bits, nn.Linear(condition, 2**bits)

    def index(self, bits: Tensor) -> Tensor:
        """Bits (..., K), most significant first -> indices (...)."""
        return (bits.long() << torch.arange(self.bits - 1, -1, -1, device=bits.device)).sum(-1)

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Cross-entropy in nats a place."""
        return F.cross_entropy(self.net(condition).float(), self.index(x_0))

    def draws(self, evaluations: int) -> int:
        return 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """As `Head.draw`; `sample_last` False takes the likelier half at each bit."""
        mass, threshold = guided(self.net(conditions), guidance_scale).softmax(-1), uniform()
        bits, p = [], []
        for k in range(self.bits):
            mass = mass.unflatten(-1, (2, -1))
            half = mass.sum(-1)  # (m, 2)
            one = half[:, 1] / half.sum(-1).clamp(min=1e-30)
            bit = one > (threshold[:, k] if sample_last else 0.5)
            mass = torch.where(bit[:, None], mass[:, 1], mass[:, 0])
            mass = mass / mass.sum(-1, keepdim=True).clamp(min=1e-30)
            bits.append(bit), p.append(one)
        return torch.stack(bits, -1), torch.stack(p, -1)

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        mass = guided(self.net(conditions), guidance_scale).softmax(-1)
        ones = [mass.unflatten(-1, (2**k, 2, -1))[..., 1, :].sum((-2, -1)) for k in range(self.bits)]
        return torch.stack(ones, -1).clamp(0, 1)

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, most significant first."""
        left = guided(self.net(conditions), 1.0)  # logits of the indices with the prefix drawn so far
        for k in range(self.bits):
            left = left.unflatten(-1, (2, -1))
            half = left.logsumexp(-1)  # (m, 2)
            bit = yield torch.full((len(half), 1), k, device=half.device), half[:, 1:] - half[:, :1]
            left = torch.where(bit.bool(), left[:, 1], left[:, 0])
