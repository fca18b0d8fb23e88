"""Marginals first (A1, A1b): one evaluation of pure noise orders the hidden places, and only a shortlist walks the whole chain.

At t = T a place's input holds nothing of its bits, so one evaluation of the head gives every bit's marginal. The published law
(BiGR, arXiv 2410.14672, section 3.3) walks the chain of every hidden place in every round, and reveals those whose chains *end* surest,
which favours likely draws. A shortlist of r times as many places as are revealed lies between: r = 1 trusts the marginals
alone, and from r = all on it is the published law. Ours; a measured comparison stands in docs/performance.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.codes import on_device
from bitmosaic.samplers.masked import Asked, MaskedSampler, MaskedSamplerSpec


@dataclass(frozen=True)
class MarginalsFirstSpec(MaskedSamplerSpec):
    """Settings of sampling that looks at marginals first."""

    shortlist: float = 2.0  # r, places that walk a chain for each that is revealed
    marginal_draws: int = 1  # of noise that the marginals are averaged over

    def __post_init__(self):
        super().__post_init__()
        if self.marginal_draws < 1:
            raise ValueError(f"marginal_draws: got {self.marginal_draws}; want a whole number of at least 1")

    def build(self) -> MarginalsFirst:
        return MarginalsFirst(self)


class MarginalsFirst(MaskedSampler):
    """For i = 1..n: backbone, marginals of hidden places, the chain at the surest r times as many as are wanted; reveal the surest."""

    name = "marginals-first"
    words = "a shortlist walks the chain"

    spec: MarginalsFirstSpec

    def _reveal(self, prior, digits: Tensor, known: Tensor, asked: Asked, hidden: list[int], left: list[int]):
        reveal = [h - k for h, k in zip(hidden, left, strict=True)]
        listed = self._listed(asked, reveal)
        if listed == asked.counts:  # all walk the chain
            return super()._reveal(prior, digits, known, asked, hidden, left)
        unsure = [own if few < own else 0 for own, few in zip(asked.counts, listed, strict=True)]
        p = self._marginals(prior, asked, digits.shape[-1], unsure)
        return *self._from_shortlist(prior, digits, known, asked, p, unsure, reveal), left

    def _listed(self, asked: Asked, reveal: list[int]) -> list[int]:
        """Places of each image that walk the chain, where reveal[j] are wanted."""
        return [math.ceil(min(own, self.spec.shortlist * r)) for own, r in zip(asked.counts, reveal, strict=True)]

    def _from_shortlist(self, prior, digits: Tensor, known: Tensor, asked: Asked, p: Tensor, unsure: list[int], reveal: list[int]):
        """New digits, known and entropy: of the places that marginals p (b, m, K) make surest, those whose chains end surest.

        Image j has no marginals where unsure[j] is 0: all its places walk the chain, in the order in which they would alone.
        """
        has = on_device([n > 0 for n in unsure], p.device)[:, None]
        listed = self._listed(asked, reveal)
        sure = self._confidence(prior.head.certainty(p), asked)
        short = asked.at(self._order(torch.where(has, sure, 0.0), asked)[:, : max(listed)], listed)
        digits, new, at_ends = self._reveal_surest(prior, digits, known, short, reveal)
        at_start = self._spread(known, asked, prior.head.entropy(p).mean(-1), asked.first(asked.counts))
        return digits, new, torch.where(has, at_start, at_ends)

    def _marginals(self, prior, asked: Asked, digits: int, counts: list[int]) -> Tensor:
        """What the head says of places before any is drawn, (b, m, told); image j draws noise for counts[j] of its places."""
        noise = Asked(asked.places, counts, asked.contexts, asked.scale, asked.generators).uniform(self.spec.marginal_draws, digits)
        contexts = asked.contexts.flatten(1, 2)
        p = [prior.head.marginals(contexts, asked.scale, u) for u in noise.flatten(1, 2)]
        return torch.stack(p).mean(0).view(*asked.places.shape, -1)
