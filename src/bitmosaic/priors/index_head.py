"""The head of an index: a softmax over the codewords of a place (VQ-VAE's prior, arXiv 1711.00937; MaskGIT; LlamaGen).

A draw takes one uniform a place: the first codeword at which the cumulative probability exceeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.categorical import drawn, relative_entropy
from bitmosaic.priors.head import BitByBit, Head, guided


class IndexHead(Head):
    """P(index), one logit for each of V codewords."""

    of_indices = True
    told = 2  # the probability that a place was drawn with, and its entropy over log V

    def __init__(self, codewords: int, condition: int, bias: bool = False):
        super().__init__()
        self.codewords, self.net = codewords, nn.Linear(condition, codewords, bias)

    def certainty(self, p: Tensor) -> Tensor:
        return p[..., 0]

    def entropy(self, p: Tensor) -> Tensor:
        return p[..., 1:]

    def logits(self, conditions: Tensor, guidance_scale: float = 1.0) -> Tensor:
        """(m, V) float32, of conditions (branches, m, D)."""
        return guided(self.net(conditions), guidance_scale)

    def digit_by_digit(self, conditions: Tensor, guidance_scale: float) -> Generator[Tensor, Tensor, None]:
        """Yields the logits (m, V) of the one digit, and is sent it, (m,)."""
        yield self.logits(conditions, guidance_scale)

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Cross-entropy in nats a place."""
        return F.cross_entropy(self.net(condition).float(), x_0[:, 0].long())

    def draws(self, evaluations: int) -> int:
        return 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        p = self.logits(conditions, guidance_scale).softmax(-1)
        index = drawn(p, uniform()[:, 0]) if sample_last else p.argmax(-1)
        return index[:, None], torch.stack([p.gather(1, index[:, None])[:, 0], relative_entropy(p)], -1)

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        p = self.logits(conditions, guidance_scale).softmax(-1)
        return torch.stack([p.amax(-1), relative_entropy(p)], -1)

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, most significant first, down the binary tree of indices below V."""
        yield from down_tree(self.logits(conditions), (self.codewords - 1).bit_length(), 0)

    def log_likelihood(self, digits: Tensor, conditions: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
        return self.logits(conditions).log_softmax(-1).gather(1, digits.long())[:, 0]


def down_tree(logits: Tensor, width: int, first: int) -> BitByBit:
    """As `Head.bit_by_bit`, of the `width` bits of a value with logits (m, V), most significant first, in columns from `first` on."""
    left = F.pad(logits, (0, 2**width - logits.shape[-1]), value=-math.inf)  # logits of the values with the prefix seen so far
    for k in range(width):
        left = left.unflatten(-1, (2, -1))
        half = left.logsumexp(-1)  # (m, 2)
        there = (half[:, 1:] - half[:, :1]).nan_to_num(nan=0.0)  # NaN where no value has the bits that were sent
        bit = yield torch.full((len(half), 1), first + k, device=half.device), there
        left = torch.where(bit.bool(), left[:, 1], left[:, 0])
