"""Marginals first (A1, A1b in docs/performance.md): one evaluation of pure noise orders the hidden places, and the diffusion chain runs for
a shortlist only.

At t = T the input holds nothing of a place's bits, so one evaluation of the head gives every bit's marginal. BiGR (arXiv 2410.14672,
section 3.3) runs the chain of every hidden place in every round, and reveals those whose chains *end* most certain, which favours likely
draws. A shortlist of r times as many places as are revealed lies between: r = 1 orders by the marginals alone, r = all is the published
sampler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.codes import on_device
from bitmosaic.samplers.masked import HiddenPlaces, MaskedSampler, MaskedSamplerSpec


@dataclass(frozen=True)
class MarginalsFirstSpec(MaskedSamplerSpec):
    """Settings of marginals-first sampling."""

    shortlist: float = 2.0  # r, places for which the chain runs, for each that is revealed
    marginal_draws: int = 1  # of noise that the marginals are averaged over

    def __post_init__(self):
        super().__post_init__()
        if self.marginal_draws < 1:
            raise ValueError(f"marginal_draws: got {self.marginal_draws}; want a whole number of at least 1")

    def build(self) -> MarginalsFirst:
        return MarginalsFirst(self)


class MarginalsFirst(MaskedSampler):
    """For i = 1..n: backbone, marginals of hidden places, the chain at the r times as many most certain ones; reveal the most certain."""

    name = "marginals-first"
    words = "a shortlist walks the chain"

    spec: MarginalsFirstSpec

    def _reveal(self, prior, digits: Tensor, known: Tensor, asked: HiddenPlaces, hidden: list[int], left: list[int]):
        reveal = [h - k for h, k in zip(hidden, left, strict=True)]
        listed = self._listed(asked, reveal)
        if listed == asked.counts:  # the chain runs for all
            return super()._reveal(prior, digits, known, asked, hidden, left)
        unsure = [own if few < own else 0 for own, few in zip(asked.counts, listed, strict=True)]
        p = self._marginals(prior, asked, digits.shape[-1], unsure)
        return *self._from_shortlist(prior, digits, known, asked, p, unsure, reveal), left

    def _listed(self, asked: HiddenPlaces, reveal: list[int]) -> list[int]:
        """The number of places of each image for which the chain runs, where reveal[j] are revealed."""
        return [math.ceil(min(own, self.spec.shortlist * r)) for own, r in zip(asked.counts, reveal, strict=True)]

    def _from_shortlist(self, prior, digits: Tensor, known: Tensor, asked: HiddenPlaces, p: Tensor, unsure: list[int], reveal: list[int]):
        """New digits, known and entropy: of the most certain places by marginals p (b, m, K), those whose chains end most certain.

        Image j has no marginals where unsure[j] is 0: the chain runs for all its places, in the order in which it would in a batch of one.
        """
        has = on_device([n > 0 for n in unsure], p.device)[:, None]
        listed = self._listed(asked, reveal)
        sure = self._confidence(prior.head.certainty(p), asked)
        short = asked.at(self._order(torch.where(has, sure, 0.0), asked)[:, : max(listed)], listed)
        digits, new, at_ends = self._reveal_surest(prior, digits, known, short, reveal)
        at_start = self._spread(known, asked, prior.head.entropy(p).mean(-1), asked.first(asked.counts))
        return digits, new, torch.where(has, at_start, at_ends)

    def _marginals(self, prior, asked: HiddenPlaces, digits: int, counts: list[int]) -> Tensor:
        """`Head.marginals` of places, (b, m, told), averaged over draws; image j draws noise for counts[j] of its places."""
        noise = HiddenPlaces(asked.places, counts, asked.contexts, asked.scale, asked.generators).uniform(self.spec.marginal_draws, digits)
        contexts = asked.contexts.flatten(1, 2)
        p = [prior.head.marginals(contexts, asked.scale, u) for u in noise.flatten(1, 2)]
        return torch.stack(p).mean(0).view(*asked.places.shape, -1)
