"""Entropy budget (A4; EB-Sampler, arXiv 2505.24857): reveal as many places in a round as a budget of entropy allows.

Places that are revealed together are drawn apart, and the error of that is bounded by the sum of their entropies less the largest. We
differ in taking entropies off the marginals of a place's bits (their sum, an upper bound of the place's own), and in keeping the
number of rounds as an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bitmosaic.samplers.masked import Asked
from bitmosaic.samplers.shortlist import Shortlist, ShortlistSpec


@dataclass(frozen=True)
class EntropyBudgetSpec(ShortlistSpec):
    """Settings of sampling with an entropy budget; `steps` is the most rounds there are, in the last of which all is revealed."""

    budget: float = 20.0  # bits that the places of a round may hold together, the most uncertain of them left out

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.budget < math.inf:
            raise ValueError(f"budget: got {self.budget}; want a number of bits, not negative")

    def build(self) -> EntropyBudget:
        return EntropyBudget(self)


class EntropyBudget(Shortlist):
    """For i = 1..n: backbone, marginals; the surest places whose entropies fit the budget, at least one; the rest as before."""

    name = "entropy-budget"

    spec: EntropyBudgetSpec

    def _plan(self, i: int, hidden: list[int], at_start: list[int]) -> list[int]:
        """The least that is revealed: one place, or all in the last round."""
        return [0 if i == self.spec.steps else max(0, h - 1) for h in hidden]

    def _reveal(self, prior, digits: Tensor, known: Tensor, asked: Asked, hidden: list[int], left: list[int]):
        if not any(left):
            return super()._reveal(prior, digits, known, asked, hidden, left)
        unsure = [own if k else 0 for own, k in zip(asked.counts, left, strict=True)]
        p = self._marginals(prior, asked, digits.shape[-1], unsure)
        fit = self._fitting(prior.head, p, asked).tolist()  # a wait for the device in each round, which the fixed schedule does not need
        reveal = [max(1, min(f, own)) if k else h for f, own, k, h in zip(fit, asked.counts, left, hidden, strict=True)]
        left = [h - r for h, r in zip(hidden, reveal, strict=True)]
        return *self._from_shortlist(prior, digits, known, asked, p, unsure, reveal), left

    def _fitting(self, head, p: Tensor, asked: Asked) -> Tensor:
        """How many places (b,) fit the budget together, in the order in which they would be revealed."""
        bits = head.entropy(p).sum(-1).gather(1, self._order(self._confidence(head.certainty(p), asked), asked))
        together = bits.cumsum(1) - bits.cummax(1).values
        return ((together <= self.spec.budget) & asked.first(asked.counts)).sum(1)
