"""LlamaGen's sampling (Sun et al., arXiv 2406.06525): raster order, guided logits divided by a temperature, top-k and top-p.

We differ in drawing by one uniform a digit from each image's own generator, in several digits a place (FAR, arXiv 2411.16681), and in
passing over places that are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.nets.categorical import drawn, relative_entropy
from bitmosaic.samplers.base import SamplerSpec
from bitmosaic.samplers.in_order import InOrderSampler


@dataclass(frozen=True)
class LlamaGenSamplerSpec(SamplerSpec):
    """Settings of LlamaGen's sampling; there are as many steps as places."""

    guidance_scale: float = 2.0  # 1: none, 0: the null class
    temperature: float = 1.0  # logits are divided by it; 0: the likeliest index
    top_k: int = 0  # keeps the k likeliest indices; 0: all
    top_p: float = 1.0  # keeps the likeliest indices whose total probability exceeds this; 1: all
    guided_places: int = 0  # guidance for so many places from the first on, none after them; 0: for all

    def __post_init__(self):
        super().__post_init__()
        if self.guided_places < 0:
            raise ValueError(f"guided_places: got {self.guided_places}; want a whole number of at least 0")

    def build(self) -> LlamaGenSampler:
        return LlamaGenSampler(self)


class LlamaGenSampler(InOrderSampler):
    """For each place: guided logits, top-k and top-p, and a draw."""

    name = "llamagen"
    words = "row by row, of the likeliest few"
    families = ("causal",)
    of_indices = True

    def __init__(self, spec: LlamaGenSamplerSpec):
        self.spec = spec

    def _draw(self, prior, contexts: Tensor, place: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        spec = self.spec
        guides = len(contexts) > 1 and (not spec.guided_places or place < spec.guided_places)
        asked = prior.head.digit_by_digit(contexts if guides else contexts[:1], spec.guidance_scale)
        digits, entropies, logits = [], [], next(asked)
        while logits is not None:  # one digit after another, of an index but one
            p = probabilities(logits, spec.temperature, spec.top_k, spec.top_p)
            uniform = torch.cat([torch.rand(1, generator=rng, device=rng.device) for rng in generators])
            digits.append(drawn(p, uniform))
            entropies.append(relative_entropy(p))
            try:
                logits = asked.send(digits[-1])
            except StopIteration:
                logits = None
        return torch.stack(digits, -1), torch.stack(entropies, -1).mean(-1)


def probabilities(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Probabilities (m, V) to draw from, of guided logits (m, V)."""
    if temperature == 0:
        return torch.zeros_like(logits).scatter(1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / temperature
    return logits.masked_fill(~kept(logits, top_k, top_p), -math.inf).softmax(-1)


def kept(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Indices that top-k and then top-p keep, (m, V) bool: logits not below the k-th largest; of these the likeliest, up to the one with
    which their total probability exceeds `top_p`."""
    stays = torch.ones_like(logits, dtype=torch.bool)
    if top_k:
        stays = logits >= logits.topk(min(top_k, logits.shape[-1]), -1).values[:, -1:]
    if top_p < 1:
        ordered, order = logits.masked_fill(~stays, -math.inf).sort(dim=-1, descending=True, stable=True)
        p = ordered.softmax(-1)
        stays = stays & torch.zeros_like(stays).scatter(1, order, p.cumsum(-1) - p <= top_p)
    return stays
