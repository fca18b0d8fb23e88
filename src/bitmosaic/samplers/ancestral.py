"""Ancestral sampling of denoising priors (D3PM, Austin et al., arXiv 2107.03006): from noise to codes, all places in each step.

We differ from VQ-Diffusion (Gu et al., 2111.14822) in exact jumps where there are fewer steps than the chain has, in starting from the
chain's final distribution, which is all masks for an absorbing chain, and in given places, which stay clean through the whole chain.
Guidance is in log space, as in its improved form (Tang et al., 2205.16007).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Condition
from bitmosaic.nets.categorical import drawn, relative_entropy
from bitmosaic.samplers.base import PriorLike, Sampler, SamplerSpec, Step
from bitmosaic.samplers.guidance import Branches
from bitmosaic.samplers.llamagen import kept


@dataclass(frozen=True)
class AncestralSpec(SamplerSpec):
    """Settings of ancestral sampling."""

    steps: int = 25  # S, evaluations of the network; the chain's T where that is fewer
    guidance_scale: float = 2.0  # 1: none, 0: the null class
    top_p: float = 1.0  # keeps the likeliest codewords of p(x_0 | x_t) whose total probability exceeds this; 1: all

    def build(self) -> Ancestral:
        return Ancestral(self)


class Ancestral(Sampler):
    """For t = T, ..., 0: predict the clean codes, then draw all places at the next time from the posterior."""

    name = "ancestral"
    words = "noise becomes codes, step by step"
    families = ("denoising",)

    def __init__(self, spec: AncestralSpec):
        self.spec = spec

    @torch.no_grad()
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        self.check(prior, codes, known, generators)
        spec, chain, shape, b = self.spec, prior.chain, known.shape, len(known)
        given, known = codes.flat()[..., 0].long(), known.flatten(1)  # (b, N)
        told = Branches(prior, condition, b)(spec.guidance_scale)
        x = torch.where(known, given, chain.end(self._uniform(2, known, generators)))
        times = chain.times(spec.steps)
        for i, (t, s) in enumerate(zip(times, [*times[1:], 0], strict=True)):
            log_p = self._predicted(prior, x, t, told)
            p = chain.posterior(log_p, x, s, t).exp()[..., : chain.states if s else chain.codewords]  # (b, N, states)
            found = drawn(p.flatten(0, 1), self._uniform(1, known, generators).flatten()).view(x.shape)
            x = torch.where(known, given, found)
            entropy = relative_entropy(log_p.exp()).masked_fill(known, 0.0)
            there = x < chain.codewords
            digits = x.masked_fill(~there, 0).to(codes.digits.dtype).view(*shape, 1)
            yield Step(i + 1, len(times), Codes(digits, codes.radix), there.view(shape), entropy.view(shape))

    def _predicted(self, prior: PriorLike, x: Tensor, t: int, told) -> Tensor:
        """log p(x_0 | x_t) (b, N, K): guided, l_null + s (l - l_null), and cut to the likeliest."""
        n = len(told) // len(x)
        time = torch.full((len(told),), t, device=x.device)
        log_p = prior.denoise(x.repeat(n, 1), time, told).view(n, *x.shape, -1)
        log_p = log_p[0] if n == 1 else (log_p[1] + self.spec.guidance_scale * (log_p[0] - log_p[1])).log_softmax(-1)
        if self.spec.top_p < 1:
            stays = kept(log_p.flatten(0, 1), 0, self.spec.top_p).view(log_p.shape)
            log_p = log_p.masked_fill(~stays, -torch.inf).log_softmax(-1)
        return log_p

    @staticmethod
    def _uniform(count: int, known: Tensor, generators: list[torch.Generator]) -> Tensor:
        """(count, b, N), each image's from its own generator."""
        return torch.stack([torch.rand(count, known.shape[1], generator=rng, device=rng.device) for rng in generators], 1)
