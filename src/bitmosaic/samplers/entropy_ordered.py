"""Entropy-ordered sampling (BiGR, arXiv 2410.14672, section 3.3): the most certain places are revealed first.

We differ in doing exactly the same with less work (hidden places only, both guidance branches in one call), in counting the hidden
places where the published schedule counts the visible ones, and in one generator per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.samplers.base import MaskedPriorLike, Sampler, SamplerSpec, Step, hidden_after


@dataclass(frozen=True)
class EntropyOrderedSpec(SamplerSpec):
    """Settings of entropy-ordered sampling."""

    steps: int = 20  # n, rounds
    evaluations: int = 100  # S, of the head in one chain
    guidance_scale: float = 2.5  # 1: none, 0: the null class
    temperature: float = 0.17  # of the Gumbel noise on the confidence
    sample_last: bool = True  # draw the bits at the end of a chain; False: round them

    def __post_init__(self):
        if self.steps < 1 or self.evaluations < 1:
            raise ValueError(f"steps {self.steps} and evaluations {self.evaluations} must be at least 1")
        if not abs(self.guidance_scale) <= 1e6 or not 0 <= self.temperature < math.inf:
            raise ValueError(f"guidance_scale {self.guidance_scale} must be within 1e6, temperature {self.temperature} finite, not below 0")

    def build(self) -> EntropyOrdered:
        return EntropyOrdered(self)


class EntropyOrdered(Sampler):
    """For i = 1..n: backbone, the head's chain, confidence = mean |2p - 1| + temperature * Gumbel; reveal the most confident."""

    def __init__(self, spec: EntropyOrderedSpec):
        self.spec = spec

    @torch.no_grad()
    def __call__(
        self, prior: MaskedPriorLike, codes: Codes, known: Tensor, labels: Tensor | None, generators: list[torch.Generator]
    ) -> Iterator[Step]:
        prior.check(codes, known)
        spec, shape = self.spec, known.shape
        if len(generators) != len(known):
            raise ValueError(f"generators: got {len(generators)} for {len(known)} images; want one an image")
        known = known.flatten(1)
        digits = codes.flat() * known[..., None]  # (b, N, K)
        vectors = guidance_branches(prior, labels, len(known), spec.guidance_scale)
        at_start = hidden = (~known).sum(1).tolist()  # the only wait for the device (E6)
        for i in range(1, spec.steps + 1):
            left = [hidden_after(i, spec.steps, h) for h in at_start]
            entropy = torch.zeros(known.shape, device=known.device)
            if left != hidden:
                digits, known, entropy = self._reveal(prior, digits, known, vectors, hidden, left, generators)
            hidden = left
            yield Step(i, spec.steps, Codes(digits.view(*shape, len(codes.radix)), codes.radix), known.view(shape), entropy.view(shape))

    def _reveal(self, prior, digits: Tensor, known: Tensor, vectors: Tensor, hidden: list[int], left: list[int], generators):
        """One round: image j goes from hidden[j] to left[j] hidden places. New digits (b, N, K), known (b, N), entropy (b, N)."""
        spec, device, (b, _, bits) = self.spec, known.device, digits.shape
        most = max(hidden)
        rows = torch.arange(b, device=device)[:, None]
        places = known.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]  # (b, m) hidden places first (E1)
        wanting = [h if k < h else 0 for h, k in zip(hidden, left, strict=True)]  # an image that reveals nothing is not asked
        asked = torch.arange(most, device=device) < torch.tensor(wanting, device=device)[:, None]
        uniform, gumbel = draw_noise(generators, hidden, left, most, bits, spec.evaluations + 1)
        p = self._chain(prior, digits, known, vectors, places, uniform)  # (b, m, K)
        drawn = p > (uniform[-1] if spec.sample_last else 0.5)
        confidence = ((2 * p - 1).abs().mean(-1) + spec.temperature * gumbel).clamp(-1e38, 1e38)  # above what is not asked
        order = confidence.masked_fill(~asked, -math.inf).argsort(1, descending=True)
        count = torch.tensor([h - k for h, k in zip(hidden, left, strict=True)], device=device)[:, None]
        chosen = torch.zeros_like(asked).scatter(1, order, torch.arange(most, device=device) < count)
        kept = digits[rows, places]
        new_digits, new_known, entropy = digits.clone(), known.clone(), torch.zeros(known.shape, device=device)
        new_digits[rows, places] = torch.where(chosen[..., None], drawn.to(digits.dtype), kept)
        new_known[rows, places] = known[rows, places] | chosen
        entropy[rows, places] = torch.where(asked, binary_entropy(p).mean(-1), 0.0)
        return new_digits, new_known, entropy

    def _chain(self, prior, digits: Tensor, known: Tensor, vectors: Tensor, places: Tensor, uniform: Tensor) -> Tensor:
        """P(x_0 = 1) of every bit at `places` (b, m), at the end of one chain each, (b, m, K)."""
        b, m = places.shape
        n = len(vectors) // b  # branches, both in one call (E3)
        context = prior.context(digits.repeat(n, 1, 1), known.repeat(n, 1), vectors)  # (n * b, N, D)
        context = context.gather(1, places.repeat(n, 1)[..., None].expand(-1, -1, context.shape[-1]))
        draws = iter(uniform.flatten(1, 2))
        p = prior.head.chain(context.view(n, b * m, -1), self.spec.guidance_scale, self.spec.evaluations, lambda: next(draws))
        return p.view(b, m, -1)


def guidance_branches(prior: MaskedPriorLike, labels: Tensor | None, batch: int, scale: float) -> Tensor:
    """Condition vectors of the branches that guidance needs (E7): (b, D), or class then null (2 b, D)."""
    given = prior.embed(labels, batch)
    if labels is None:
        return given
    if scale == 0:
        return prior.embed(None, batch)
    return given if scale == 1 else torch.cat([given, prior.embed(None, batch)])


def draw_noise(
    generators: list[torch.Generator], hidden: list[int], left: list[int], most: int, bits: int, count: int
) -> tuple[Tensor, Tensor]:
    """Uniforms (count, b, most, bits) and Gumbel noise (b, most), each image's from its own generator on its device.

    An image draws only in rounds that reveal some of its places, and only for its hidden places, whatever its batch needs.
    """
    device = generators[0].device
    uniform = torch.full((count, len(generators), most, bits), 0.5, device=device)
    gumbel = torch.full((len(generators), most), 0.5, device=device)
    for j, rng in enumerate(generators):
        if left[j] < hidden[j]:
            uniform[:, j, : hidden[j]] = torch.rand(count, hidden[j], bits, generator=rng, device=device)
            gumbel[j, : hidden[j]] = torch.rand(hidden[j], generator=rng, device=device)
    return uniform, -(-gumbel.clamp(1e-20, 1 - 1e-7).log()).log()


def binary_entropy(p: Tensor) -> Tensor:
    """Entropy in bits of Bernoulli(p), 0 at p = 0 and p = 1."""
    return -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)) / math.log(2)
