"""Masked bits (BAR, arXiv 2602.09024): the bits of a place are masked and predicted in a few rounds, as places are in the image.

We differ in the network, the MLP of the diffusion head, with the number of known bits in the place of a timestep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bitmosaic.nets.adaln_mlp import AdaLNMLP
from bitmosaic.priors.head import BitByBit, Head, HeadSpec, guided


@dataclass(frozen=True)
class MaskedBitsSpec(HeadSpec):
    """Sizes of the head."""

    width: int = 16  # H
    depth: int = 1  # blocks

    def __post_init__(self):
        if min(self.width, self.depth) < 1:
            raise ValueError(f"width {self.width} and depth {self.depth} must be at least 1")

    def build(self, bits: int, condition: int) -> MaskedBits:
        return MaskedBits(self, bits, condition)


class MaskedBits(Head):
    """P(bits) = product over rounds of the bits revealed in each, given those before; which ones is drawn at random."""

    def __init__(self, spec: MaskedBitsSpec, bits: int, condition: int):
        super().__init__()
        self.spec, self.bits, self.told, self.net = spec, bits, bits, AdaLNMLP(bits, condition, spec.width, spec.depth)

    def logits(self, x_0: Tensor, known: Tensor, condition: Tensor) -> Tensor:
        """Logits (..., m, K) given the bits of x_0 (m, K) where `known` (m, K), under conditions (..., m, D)."""
        signs = (x_0 * 2.0 - 1.0).to(condition.dtype) * known
        time = self.net.embed_time(known.sum(-1))
        shape = (*condition.shape[:-1], -1)
        return self.net(signs.expand(shape), time.expand(shape), self.net.from_condition(condition))

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Mean cross-entropy of hidden bits; the number of known bits of a place is uniform on 0 to K - 1."""
        count = torch.randint(self.bits, (len(x_0), 1), generator=rng, device=x_0.device)
        known = _ranks(torch.rand(x_0.shape, generator=rng, device=x_0.device)) < count
        loss = F.binary_cross_entropy_with_logits(self.logits(x_0, known, condition).float(), x_0.float(), reduction="none")
        return (loss * ~known).sum(-1).div(self.bits - count[:, 0]).mean()  # each place counts the same

    def draws(self, evaluations: int) -> int:
        return 2

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """As `Head.draw`; in as many rounds as there are evaluations, at most K. `sample_last` False rounds those of the last round."""
        ranks, threshold = _ranks(uniform()), uniform()
        x, p = torch.zeros(ranks.shape, dtype=torch.uint8, device=ranks.device), torch.zeros(ranks.shape, device=ranks.device)
        rounds = min(evaluations, self.bits)
        for i in range(rounds):
            start, end = self.bits * i // rounds, self.bits * (i + 1) // rounds
            found = torch.sigmoid(guided(self.logits(x, ranks < start, conditions), guidance_scale))
            now = (ranks >= start) & (ranks < end)
            p = torch.where(now, found, p)
            last = i + 1 == rounds and not sample_last
            x = torch.where(now, (found > (0.5 if last else threshold)).to(x.dtype), x)
        return x.bool(), p

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        nothing = torch.zeros(uniform.shape, dtype=torch.bool, device=uniform.device)
        return torch.sigmoid(guided(self.logits(nothing.to(torch.uint8), nothing, conditions), guidance_scale))

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, in a random order."""
        order = uniform().argsort(-1)
        x, known = torch.zeros(order.shape, dtype=torch.uint8, device=order.device), torch.zeros_like(order, dtype=torch.bool)
        for column in order.split(1, dim=1):
            bit = yield column, guided(self.logits(x, known, conditions), 1.0).gather(1, column)
            x, known = x.scatter(1, column, bit.to(x.dtype)), known.scatter(1, column, True)


def _ranks(noise: Tensor) -> Tensor:
    """The rank of each entry in its row of (m, K), 0 the smallest."""
    return noise.argsort(-1).argsort(-1)
