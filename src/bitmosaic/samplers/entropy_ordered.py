"""Entropy-ordered sampling (BiGR, arXiv 2410.14672, section 3.3): the most certain places are revealed first.

We differ in computing the same with less work (hidden places only, both guidance branches in one call), in a schedule over the hidden
places where the published one is over all, and in one generator per image.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitmosaic.samplers.masked import MaskedSampler, MaskedSamplerSpec


@dataclass(frozen=True)
class EntropyOrderedSpec(MaskedSamplerSpec):
    """Settings of entropy-ordered sampling."""

    def build(self) -> EntropyOrdered:
        return EntropyOrdered(self)


class EntropyOrdered(MaskedSampler):
    """For i = 1..n: backbone, the head's chain, confidence = mean |2p - 1| + temperature * Gumbel; reveal the most confident."""

    name = "entropy-ordered"
    words = "as published"
