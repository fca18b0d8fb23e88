"""Marginals first (A1, A1b): one evaluation of pure noise orders the hidden places, and only a shortlist walks the whole chain.

At t = T a place's input holds nothing of its bits, so one evaluation of the head gives every bit's marginal. The published law
(BiGR, arXiv 2410.14672, section 3.3) walks the chain of every hidden place in every round, and reveals those whose chains *end* surest,
which favours likely draws. A shortlist of r times as many places as are revealed lies between: r = 1 trusts the marginals
alone, and from r = all on it is the published law. Ours; a measured comparison stands in docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitmosaic.samplers.shortlist import Shortlist, ShortlistSpec


@dataclass(frozen=True)
class MarginalsFirstSpec(ShortlistSpec):
    """Settings of sampling that looks at marginals first."""

    def build(self) -> MarginalsFirst:
        return MarginalsFirst(self)


class MarginalsFirst(Shortlist):
    """For i = 1..n: backbone, marginals of hidden places, the chain at the surest r times as many as are wanted; reveal the surest."""

    name = "marginals-first"
