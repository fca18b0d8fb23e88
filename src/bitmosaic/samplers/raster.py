"""Raster order: one place after another, row by row, for autoregressive priors, and as one of the orders compared by BiGR (arXiv
2410.14672).

A masked prior is evaluated anew for each place, an autoregressive one keeps a KV cache. Known places are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitmosaic.samplers.base import SamplerSpec
from bitmosaic.samplers.in_order import InOrderSampler


@dataclass(frozen=True)
class RasterSpec(SamplerSpec):
    """Settings of raster order; there are as many steps as places."""

    gone: ClassVar[dict[str, Any]] = {"procedure": "chain"}
    evaluations: int = 100  # S, of the head for one place
    guidance_scale: float = 2.5  # 1: none, 0: the null class
    sample_last: bool = True  # draw the digits at the end of a chain; False: take the likeliest

    def build(self) -> Raster:
        return Raster(self)


class Raster(InOrderSampler):
    """Draws one place after another by the head."""

    name = "raster"
    words = "row by row"
    families = ("masked", "causal")

    def __init__(self, spec: RasterSpec):
        self.spec = spec

    def _draw(self, prior, contexts: Tensor, place: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        spec, count, digits = self.spec, prior.head.draws(self.spec.evaluations), len(prior.radix)
        noise = iter(torch.stack([torch.rand(count, digits, generator=rng, device=rng.device) for rng in generators], 1))
        drawn, told = prior.head.draw(contexts, spec.guidance_scale, spec.evaluations, lambda: next(noise), spec.sample_last)
        return drawn, prior.head.entropy(told).mean(-1)
