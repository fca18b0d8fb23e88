"""Bernoulli diffusion over the K bits of one place (BiGR, arXiv 2410.14672, section 3.2; Binary Latent Diffusion, 2304.04820).

We differ in the closed-form jump between any two timesteps, and in embedding condition and timesteps once for a whole chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bitmosaic.losses.bernoulli import weighted_bce
from bitmosaic.nets.adaln_mlp import AdaLNMLP
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class BernoulliDiffusionSpec(Spec):
    """Sizes and target of the head."""

    width: int = 16  # H
    depth: int = 1  # blocks
    steps: int = 256  # T, timesteps of the forward process
    target: Literal["flips", "x_0"] = "flips"  # what the logits are of: r = x_0 XOR x_t, or x_0 itself

    def __post_init__(self):
        if min(self.width, self.depth, self.steps) < 1:
            raise ValueError(f"width {self.width}, depth {self.depth} and steps {self.steps} must be at least 1")

    def build(self, bits: int, condition: int) -> BernoulliDiffusion:
        """The head for K = `bits` under conditions of width `condition`."""
        return BernoulliDiffusion(self, bits, condition)


def keep_probability(t: Tensor, steps: int) -> Tensor:
    """k_t = 1 - t/T: q(x_t | x_0) = Bernoulli(k_t x_0 + (1 - k_t)/2), t in 0..T."""
    return 1 - t.float() / steps


def chain_timesteps(evaluations: int, steps: int) -> list[int]:
    """Timesteps of S evaluations of T, 1 + int(linspace(0, 1, S) (T - 1)), descending; a single evaluation stands at T.

    More evaluations than timesteps are cut to T, since a timestep is never visited twice.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations: got {evaluations}; the head needs at least one")
    if evaluations == 1:
        return [steps]
    if evaluations >= steps:
        return list(range(steps, 0, -1))
    points = np.linspace(0.0, 1.0, evaluations) * (steps - 1)
    return (1 + points.astype(int))[::-1].tolist()


def jump_probability(p_0: Tensor, x_t: Tensor, k_t: float, k_s: float) -> Tensor:
    """P(x_s = 1 | x_t) for s < t, where P(x_0 = 1) = p_0: all of (..., K).

    P(x_s) is proportional to (k_s P(x_0) + (1 - k_s)/2) (kappa [x_s = x_t] + (1 - kappa)/2), kappa = k_t / k_s.
    """
    kappa = k_t / k_s
    x = x_t.float()
    one = (k_s * p_0 + (1 - k_s) / 2) * (kappa * x + (1 - kappa) / 2)
    zero = (k_s * (1 - p_0) + (1 - k_s) / 2) * (kappa * (1 - x) + (1 - kappa) / 2)
    return one / (one + zero)


class BernoulliDiffusion(nn.Module):
    """Draws the bits of places jointly, given what the backbone says of each."""

    def __init__(self, spec: BernoulliDiffusionSpec, bits: int, condition: int):
        super().__init__()
        self.spec, self.bits = spec, bits
        self.net = AdaLNMLP(bits, condition, spec.width, spec.depth)

    def logits(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Logits of the target, (m, K), for bits x (m, K), t (m,) = timestep - 1, condition (m, D)."""
        signs = (x * 2.0 - 1.0).to(condition.dtype)
        return self.net(signs, self.net.embed_time(t), self.net.from_condition(condition))

    def p_0(self, logits: Tensor, x_t: Tensor) -> Tensor:
        """P(x_0 = 1) in float32 from the target's logits."""
        p = torch.sigmoid(logits.float())
        if self.spec.target == "x_0":
            return p
        x = x_t.float()
        return x * (1 - p) + (1 - x) * p

    def elementwise_loss(self, x_0: Tensor, t: Tensor, x_t: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted BCE (m, K) and the logits; t (m,) in 1..T, x_0 and x_t bits (m, K), condition (m, D)."""
        target = x_0 if self.spec.target == "x_0" else x_0 ^ x_t
        logits = self.logits(x_t, t - 1, condition)
        return weighted_bce(logits, target), logits

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Mean weighted BCE of places (m, K) under conditions (m, D), one timestep a place."""
        m = len(x_0)
        t = torch.randint(1, self.spec.steps + 1, (m,), generator=rng, device=x_0.device)
        k = keep_probability(t, self.spec.steps)[:, None]
        x_t = (torch.rand(x_0.shape, generator=rng, device=x_0.device) < k * x_0 + (1 - k) / 2).to(x_0.dtype)
        return self.elementwise_loss(x_0, t, x_t, condition)[0].mean()

    def chain(self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor]) -> Tensor:
        """One reverse chain for each place: P(x_0 = 1) at its end, (m, K) float32.

        conditions (branches, m, D): one branch, or class then null, combined as l_null + scale (l_class - l_null) at every
        evaluation on the same x_t. `uniform()` gives (m, K) in [0, 1), called once for each evaluation.
        """
        branches = len(conditions)
        timesteps = chain_timesteps(evaluations, self.spec.steps)
        embedded = self.net.from_condition(conditions)  # once a chain (E2)
        times = self.net.embed_time(torch.tensor(timesteps, device=conditions.device) - 1)  # once a timestep (E2)
        keep = [1 - t / self.spec.steps for t in timesteps]
        x = (uniform() < 0.5).to(torch.uint8)
        for i in range(len(timesteps)):
            signs = (x * 2.0 - 1.0).to(conditions.dtype)
            logits = self.net(signs.expand(branches, *x.shape), times[i], embedded).float()  # both branches in one call (E3)
            if branches == 2:
                logits = logits[1] + guidance_scale * (logits[0] - logits[1])
            else:
                logits = logits[0]
            p = self.p_0(logits, x)
            if i + 1 < len(timesteps):
                x = (uniform() < jump_probability(p, x, keep[i], keep[i + 1])).to(torch.uint8)  # closed form (E4)
        return p
