"""MaskGIT's sampling (Chang et al., CVPR 2022, arXiv 2202.04200): draw every masked place, keep the most confident, mask the others again.

The arithmetic is that of TiTok's published generator (Yu et al., arXiv 2406.07550): Gumbel noise that decays is added both to the logits
by which an index is drawn and to the confidence, the guided logit of what was drawn. We differ in a schedule for each image by itself, in
one generator an image, and in given places, which are never masked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Condition
from bitmosaic.nets.categorical import relative_entropy
from bitmosaic.nets.schedules import power_cosine
from bitmosaic.samplers.base import PriorLike, Sampler, SamplerSpec, Step
from bitmosaic.samplers.guidance import Branches

GuidanceDecay = Literal["constant", "linear", "power-cosine"]


@dataclass(frozen=True)
class MaskGITSamplerSpec(SamplerSpec):
    """Settings of MaskGIT's sampling."""

    steps: int = 8  # S, rounds
    guidance_scale: float = 3.0  # 1: none, 0: the null class; at its strongest
    temperature: float = 4.5  # of the Gumbel noise on logits and confidence, times the share of rounds that is left
    guidance_decay: GuidanceDecay = "constant"  # how guidance grows over the rounds
    guidance_power: float = 3.0  # of power-cosine: the higher, the later it grows
    anneal: bool = False  # logits are divided by a temperature that falls from 1.3 to 0.5 over the rounds

    def __post_init__(self):
        super().__post_init__()
        if self.guidance_decay not in ("constant", "linear", "power-cosine") or not 0 < self.guidance_power < 1e3:
            raise ValueError(
                f"guidance_decay {self.guidance_decay!r} must be 'constant', 'linear' or 'power-cosine', "
                f"guidance_power {self.guidance_power} positive"
            )

    def build(self) -> MaskGITSampler:
        return MaskGITSampler(self)


class MaskGITSampler(Sampler):
    """For i = 1..S: logits of masked places, an index for each, mask the least confident again; codes of several digits, per digit."""

    name = "maskgit"
    words = "all at once, the surest stay"
    families = ("masked",)
    of_indices = True
    per_digit = True

    def __init__(self, spec: MaskGITSamplerSpec):
        self.spec = spec

    @torch.no_grad()
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        self.check(prior, codes, known, generators)
        spec, b, k, shape = self.spec, len(known), len(codes.radix), codes.digits.shape
        known = known.flatten(1) if known.shape == shape else known.flatten(1).repeat_interleave(k, 1)  # (b, N K), of each digit
        index = codes.flat().flatten(1).long() * known
        conditions, at_start = Branches(prior, condition, b), (~known).sum(1)
        most = torch.tensor([math.log(max(codes.radix)) / math.log(r) for r in codes.radix], device=known.device)  # entropy of a digit
        for i in range(spec.steps):
            scale = guidance_at(spec, i)
            encoded = conditions(scale)
            n = len(encoded) // b
            there = known.view(b, -1, k)
            seen = there if prior.per_digit else there[..., 0]
            context = prior.context(torch.cat([index.view(b, -1, k)] * n), torch.cat([seen] * n), encoded)
            logits = prior.head.logits(context.view(n, b, *context.shape[1:]), scale).flatten(1, -2)  # (b, N K, V)
            logits = logits / (0.5 + 0.8 * (1 - (i + 1) / spec.steps)) if spec.anneal else logits
            noise = spec.temperature * (1 - (i + 1) / spec.steps)
            places, words = logits.shape[1:]
            uniforms = torch.stack([torch.rand(places, words + 1, generator=rng, device=rng.device) for rng in generators])
            drawn = draw(logits, uniforms[..., 1:], noise)
            sure = confidence(logits, drawn, uniforms[..., 0], noise)
            again = masked_again(sure, ~known, at_start, i + 1, spec.steps)
            entropy = (relative_entropy(logits.softmax(-1)).view(b, -1, k) * most).clamp(0, 1).masked_fill(there, 0.0).mean(-1)
            index = torch.where(known, index, drawn).masked_fill(again, 0)
            known = ~again
            whole = known.view(b, -1, k).all(-1)
            digits = (index.view(b, -1, k) * whole[..., None]).view(shape)
            yield Step(i + 1, spec.steps, Codes(digits, codes.radix), whole.view(shape[:-1]), entropy.view(shape[:-1]))


def guidance_at(spec: MaskGITSamplerSpec, i: int) -> float:
    """The scale s in l_null + s (l - l_null) of round `i`, counted from 0.

    linear: 1 + (scale - 1) i / S; power-cosine of i / S; both have none in the first round.
    """
    done = i / spec.steps
    if spec.guidance_decay == "constant":
        return spec.guidance_scale
    if spec.guidance_decay == "linear":
        return 1 + (spec.guidance_scale - 1) * done
    return power_cosine(spec.guidance_scale, done, spec.guidance_power)


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel(0, 1) noise of uniforms in [0, 1)."""
    return -(-uniform.clamp(1e-20, 1 - 1e-7).log()).clamp(min=1e-20).log()


def draw(logits: Tensor, uniform: Tensor, noise: float) -> Tensor:
    """Indices (...) of logits (..., V): the largest after Gumbel noise of that scale; 0: the likeliest. Those of -inf are never drawn."""
    return (logits + noise * gumbel(uniform)).masked_fill(logits == -math.inf, -math.inf).argmax(-1)


def confidence(logits: Tensor, index: Tensor, uniform: Tensor, noise: float) -> Tensor:
    """Confidence (...) of each index: its logit plus Gumbel noise of that scale."""
    return logits.gather(-1, index[..., None])[..., 0] + noise * gumbel(uniform)


def masked_again(sure: Tensor, masked: Tensor, at_start: Tensor, done: int, steps: int) -> Tensor:
    """(b, N) bool: the masked places that are masked again after round `done` of `steps`, those of least confidence `sure` (b, N).

    As many as floor(n arccos(done / steps) / (pi / 2)) of the n (b,) that were masked at the start, at least one and at least one fewer
    than now, while rounds are left; after the last none.
    """
    if done == steps:
        return torch.zeros_like(masked)
    now = masked.sum(1)
    count = (at_start * (2 / math.pi * math.acos(done / steps))).floor().long().clamp(min=1)
    count = torch.minimum(count, (now - 1).clamp(min=0))
    order = sure.masked_fill(~masked, math.inf).argsort(dim=1, stable=True)
    least = torch.arange(masked.shape[1], device=masked.device) < count[:, None]
    return torch.zeros_like(masked).scatter(1, order, least) & masked
