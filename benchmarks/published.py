"""What the published program of BiGR does to draw an image, written anew from the paper's equations, as a baseline.

It asks the head about all places in every round, known ones too; calls it twice an evaluation, once for the class and once for the
null; embeds condition and timestep anew for every place and call; computes the reverse jump from both states. Only what belongs to
the law is kept apart: the noise comes from one generator an image, as ours does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitmosaic.priors.bernoulli_diffusion import chain_timesteps
from bitmosaic.priors.masked import MaskedPrior


def logits(prior: MaskedPrior, x: Tensor, timestep: int, condition: Tensor) -> Tensor:
    """One call of the head: bits x (m, K) at a timestep 1..T under conditions (m, D)."""
    return prior.head.logits(x, torch.full((len(x),), timestep - 1, device=x.device), condition)


def chain(prior: MaskedPrior, condition: Tensor, null: Tensor, scale: float, evaluations: int, uniform) -> Tensor:
    """P(x_0 = 1) at the end of a guided reverse chain, (m, K); conditions (m, D) each; `uniform()` gives (m, K)."""
    steps = prior.head.spec.steps
    timesteps = chain_timesteps(evaluations, steps)
    x = (uniform() < 0.5).long()
    for i, t in enumerate(timesteps):
        given, without = logits(prior, x, t, condition), logits(prior, x, t, null)
        flip = torch.sigmoid(without + scale * (given - without))
        p_0 = x * (1 - flip) + (1 - x) * flip
        if i + 1 == len(timesteps):
            return p_0
        s = timesteps[i + 1]
        k_t, k_s = 1 - t / steps, 1 - s / steps
        kappa = k_t / k_s
        both = []
        for state in (0, 1):
            p = p_0 if state else 1 - p_0
            stays = (x == state).float()
            both.append((k_s * p + (1 - k_s) / 2) * (kappa * stays + (1 - kappa) / 2))
        x = (uniform() < both[1] / (both[0] + both[1])).long()


def round_(prior: MaskedPrior, digits: Tensor, known: Tensor, labels: Tensor, spec, uniform):
    """Backbone twice and chains of all places, for images (b, N, K): P(x_0 = 1) and bits drawn, both of that shape.

    `uniform()` gives (b N, K).
    """
    given, null = (prior.context(digits, known, prior.embed(asked, len(digits))).flatten(0, 1) for asked in (labels, None))
    p = chain(prior, given, null, spec.guidance_scale, spec.evaluations, uniform)
    return p.view(digits.shape), (uniform() < p).to(digits.dtype).view(digits.shape)


@torch.no_grad()
def sample(prior: MaskedPrior, label: int, spec, seed: int) -> Tensor:
    """Digits (N, K) of one image."""
    rng, places = torch.Generator().manual_seed(seed), math.prod(prior.grid)
    shape = places, prior.spec.bits
    digits, known = torch.zeros(1, places, prior.spec.bits, dtype=torch.uint8), torch.zeros(1, places, dtype=torch.bool)
    for i in range(1, spec.steps + 1):
        p, drawn = (x[0] for x in round_(prior, digits, known, torch.tensor([label]), spec, lambda: torch.rand(shape, generator=rng)))
        gumbel = -(-torch.rand(places, generator=rng).clamp(1e-20, 1 - 1e-7).log()).log()
        confidence = ((2 * p - 1).abs().mean(-1) + spec.temperature * gumbel).masked_fill(known[0], -math.inf)
        stay = math.floor(math.cos(math.pi / 2 * i / spec.steps) * places) if i < spec.steps else 0
        chosen = confidence.argsort(descending=True)[: int((~known).sum()) - stay]
        digits[0, chosen], known[0, chosen] = drawn[chosen], True
    return digits[0]
