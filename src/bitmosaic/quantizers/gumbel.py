"""Gumbel-softmax over distances (McQuic, CVPR 2022, arXiv 2203.10897): a codeword is drawn in training, the nearest one taken afterwards.

Its several codebooks are a `ProductSpec` of these. We differ in digits that are the drawn codewords (the program reports the likeliest ones
in their place), and in restarting dead codewords at the most used ones (it draws, and its spared dead ones count as used).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import Quantized
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, check_pairs, one_hot_lookup

KEPT = 0.9  # of the running frequencies, in each step
DEAD = 1e-6  # frequency
LOWEST = 1e-6  # temperature
HIGHEST = 1e15  # number of a vector


@dataclass(frozen=True)
class GumbelSpec(CodebookSpec):
    """K codewords of width d; there is no other loss than the tokenizer's own."""

    scheme = "gumbel"

    def build(self) -> Gumbel:
        return Gumbel(self)


class Gumbel(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    def __init__(self, spec: GumbelSpec):
        super().__init__(spec)
        self.codebook = nn.Parameter(torch.randn(spec.codewords, spec.width) * (2 / (5 * spec.width)) ** 0.5)
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("frequency", torch.full((spec.codewords,), 1 / spec.codewords))  # running, of draws
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))  # codewords moved so far

    def logits(self, z: Tensor) -> Tensor:
        """(..., d) -> (..., K): minus squared distances over sqrt(K), times the learned temperature."""
        z = z.clamp(-HIGHEST, HIGHEST)  # whose square is finite
        products = z @ self.codebook.T
        distances = z.square().sum(-1, keepdim=True) + self.codebook.square().sum(-1) - 2 * products
        return -distances / self.spec.codewords**0.5 * lower_bound(self.temperature, LOWEST)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """ValueError where places times codewords are too many: this scheme needs all pairs."""
        z = z.float()
        check_pairs(z[..., 0].numel(), self.spec.codewords)
        learning = rng is not None and self.training
        if learning:
            self._restart()
        logits = self.logits(z)
        if rng is None:
            digits, noise = self.encode(z), 0.0
        else:
            eps = torch.finfo(logits.dtype).eps
            u = torch.rand(logits.shape, generator=rng, device=rng.device).clamp(eps, 1 - eps)
            noise = -(-u.log()).log()
            digits = (logits.detach() + noise).argmax(-1, keepdim=True)
            if learning:
                self._count(digits)
        return Quantized(one_hot_lookup((logits + noise).softmax(-1), digits[..., 0], self.codebook), digits)

    @torch.no_grad()
    def _restart(self) -> None:
        """Moves dead codewords to the most used ones, which the next steps tell apart.

        By the frequencies before this step alone, so that all parts of a batch do the same; and before codewords are used, since their
        gradient must find them as they were.
        """
        dead = (self.frequency < DEAD).nonzero()[:, 0]
        if len(dead):
            used = self.frequency.argsort(descending=True, stable=True)[: self.spec.codewords - len(dead)]
            self.codebook[dead] = self.codebook[used[torch.arange(len(dead), device=used.device) % len(used)]]
            self.frequency[dead] = 1 / self.spec.codewords
            self.restarts += len(dead)

    @torch.no_grad()
    def _count(self, digits: Tensor) -> None:
        counted = torch.bincount(digits.flatten(), minlength=self.spec.codewords).to(self.frequency.dtype)
        self.frequency.mul_(KEPT).add_(counted / counted.sum(), alpha=1 - KEPT)


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), whose gradient passes where x is not below the bound, and where a step would raise it."""
    return _LowerBound.apply(x, bound)


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x >= bound)
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (above,) = ctx.saved_tensors
        return gradient * (above | (gradient < 0)), None
