"""The head of several digits: a softmax over the values of each, given the context of the place (ResGen's baseline, arXiv 2412.10208).

A draw takes one uniform a digit: the first value at which the cumulative probability exceeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.codes import digit_widths
from bitmosaic.nets.categorical import drawn, relative_entropy
from bitmosaic.priors.head import BitByBit, Head, guided
from bitmosaic.priors.index_head import down_tree


class DigitsHead(Head):
    """P(digits) is a product over the digits of a place; logits beyond the radix of a digit are -inf."""

    of_indices = True

    def __init__(self, radix: tuple[int, ...], condition: int):
        super().__init__()
        self.radix, self.told = radix, 2 * len(radix)  # of each digit the probability that it was drawn with, then the entropies
        self.net = nn.Linear(condition, sum(radix))

    def padded(self, logits: Tensor) -> Tensor:
        """Logits (..., sum of radix) as (..., K, largest radix)."""
        most = max(self.radix)
        return torch.stack([F.pad(own, (0, most - own.shape[-1]), value=-math.inf) for own in logits.split(self.radix, -1)], -2)

    def logits(self, conditions: Tensor, guidance_scale: float = 1.0) -> Tensor:
        """(m, K, largest radix) float32, of conditions (branches, m, D)."""
        return self.padded(guided(self.net(conditions), guidance_scale))

    def certainty(self, p: Tensor) -> Tensor:
        return p[..., : len(self.radix)].mean(-1)

    def entropy(self, p: Tensor) -> Tensor:
        return p[..., len(self.radix) :]

    def relative_entropy(self, p: Tensor) -> Tensor:
        """Entropies (..., K) of probabilities (..., K, largest radix), each divided by the logarithm of the digit's radix."""
        scale = torch.tensor([math.log(max(self.radix)) / math.log(r) for r in self.radix], device=p.device)
        return (relative_entropy(p) * scale).clamp(0, 1)

    def digit_by_digit(self, conditions: Tensor, guidance_scale: float) -> Generator[Tensor, Tensor, None]:
        """Yields the logits (m, radix[j]) of digit j and is sent it, (m,), of which the others do not depend."""
        for logits, r in zip(self.logits(conditions, guidance_scale).unbind(-2), self.radix, strict=True):
            yield logits[..., :r]

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Cross-entropy in nats a digit."""
        return -self._of(x_0, self.padded(self.net(condition).float())).mean()

    def draws(self, evaluations: int) -> int:
        return 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        p = self.logits(conditions, guidance_scale).softmax(-1)
        digits = drawn(p.flatten(0, 1), uniform().flatten()).view(p.shape[:2]) if sample_last else p.argmax(-1)
        return digits, torch.cat([p.gather(-1, digits[..., None])[..., 0], self.relative_entropy(p)], -1)

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        p = self.logits(conditions, guidance_scale).softmax(-1)
        return torch.cat([p.amax(-1), self.relative_entropy(p)], -1)

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, one digit after another, the most significant bit of each first."""
        first = 0
        for logits, r, width in zip(self.logits(conditions).unbind(-2), self.radix, digit_widths(self.radix), strict=True):
            yield from down_tree(logits[..., :r], width, first)
            first += width

    def log_likelihood(self, digits: Tensor, conditions: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
        return self._of(digits, self.logits(conditions)).sum(-1)

    @staticmethod
    def _of(digits: Tensor, logits: Tensor) -> Tensor:
        """log P (m, K) of digits (m, K)."""
        return logits.log_softmax(-1).gather(-1, digits.long()[..., None])[..., 0]
