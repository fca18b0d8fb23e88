"""Bernoulli diffusion over the K bits of one place (BiGR, arXiv 2410.14672, section 3.2; Binary Latent Diffusion, 2304.04820).

We differ in a closed-form jump between any two timesteps, and in embedding condition and timesteps once for a whole chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bitmosaic.codes import on_device
from bitmosaic.losses.bernoulli import weighted_bce
from bitmosaic.nets.adaln_mlp import AdaLNMLP
from bitmosaic.priors.head import BitByBit, Head, HeadSpec, guided
from bitmosaic.spec import later


@dataclass(frozen=True)
class BernoulliDiffusionSpec(HeadSpec):
    """Sizes and target of the head."""

    width: int = 16  # H
    depth: int = 1  # blocks
    steps: int = 256  # T, timesteps of the forward process
    target: Literal["flips", "x_0"] = "flips"  # what the logits predict: r = x_0 XOR x_t, or x_0
    weights: Literal["published", "balanced"] = later(  # of bits in the loss; balanced: the rarer value of a place weighs more
        "published", lambda others: "balanced" if others.get("target") == "x_0" else "published"  # which is so of flips alone
    )  # fmt: skip

    def __post_init__(self):
        if min(self.width, self.depth, self.steps) < 1:
            raise ValueError(f"width {self.width}, depth {self.depth} and steps {self.steps} must be at least 1")
        if self.target not in ("flips", "x_0"):
            raise ValueError(f"target: got {self.target!r}; want 'flips' or 'x_0'")
        if self.weights not in ("published", "balanced"):
            raise ValueError(f"weights: got {self.weights!r}; want 'published' or 'balanced'")

    def build(self, bits: int, condition: int) -> BernoulliDiffusion:
        return BernoulliDiffusion(self, bits, condition)


def keep_probability(t: Tensor, steps: int) -> Tensor:
    """k_t = 1 - t/T: q(x_t | x_0) = Bernoulli(k_t x_0 + (1 - k_t)/2), t in 0..T."""
    return 1 - t.float() / steps


def chain_timesteps(evaluations: int, steps: int) -> list[int]:
    """Timesteps of S evaluations of T, 1 + int(linspace(0, 1, S) (T - 1)), descending; a single evaluation is at T.

    At most T, since no timestep is visited twice. ValueError for less than one evaluation.
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


class BernoulliDiffusion(Head):
    """Draws the bits of each place jointly, given its context vector."""

    noisy = True

    def __init__(self, spec: BernoulliDiffusionSpec, bits: int, condition: int):
        super().__init__()
        self.spec, self.bits, self.told = spec, bits, bits
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
        """BCE (m, K), weighted as the spec says, and the logits; t (m,) in 1..T, x_0 and x_t bits (m, K), condition (m, D)."""
        target = x_0 if self.spec.target == "x_0" else x_0 ^ x_t
        logits = self.logits(x_t, t - 1, condition)
        if self.spec.target == "x_0" and self.spec.weights == "published":
            return F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none"), logits
        return weighted_bce(logits, target), logits

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Mean BCE of places (m, K) under conditions (m, D), one timestep a place."""
        m = len(x_0)
        t = torch.randint(1, self.spec.steps + 1, (m,), generator=rng, device=x_0.device)
        k = keep_probability(t, self.spec.steps)[:, None]
        x_t = (torch.rand(x_0.shape, generator=rng, device=x_0.device) < k * x_0 + (1 - k) / 2).to(x_0.dtype)
        return self.elementwise_loss(x_0, t, x_t, condition)[0].mean()

    def draws(self, evaluations: int) -> int:
        """The number of uniforms that `draw` takes for each bit."""
        return evaluations + 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Bits (m, K) bool of places under `conditions` (branches, m, D), and the P(bit = 1) that each was drawn with, float32.

        sample_last: draw from the chain's last probability; False: round it.
        """
        p = self.chain(conditions, guidance_scale, evaluations, uniform)
        return p > (uniform() if sample_last else 0.5), p

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        """P(x_0 = 1) of every bit by itself, (m, K): one evaluation of pure noise, drawn with `uniform` (m, K)."""
        return self.chain(conditions, guidance_scale, 1, lambda: uniform)

    def chain(self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor]) -> Tensor:
        """One reverse chain for each place: P(x_0 = 1) at its end, (m, K) float32.

        The published jump multiplies P(x_0 | x_t), which accounts for x_t already, by q(x_t | x_s) once more, so it is biased even with a
        perfect network; exact jumps drew no better images (docs/performance.md).

        conditions (branches, m, D): one branch, or class then null, combined as l_null + scale (l_class - l_null) at every
        evaluation on the same x_t. `uniform()` gives (m, K) in [0, 1), called once for each evaluation.
        """
        timesteps = chain_timesteps(evaluations, self.spec.steps)
        embedded = self.net.from_condition(conditions)  # once a chain (E2)
        times = self.net.embed_time(on_device(timesteps, conditions.device) - 1)  # once a timestep (E2)
        keep = [1 - t / self.spec.steps for t in timesteps]
        x = (uniform() < 0.5).to(torch.uint8)
        for i in range(len(timesteps)):
            p = self._guided(x, times[i], embedded, guidance_scale)
            if i + 1 < len(timesteps):
                x = (uniform() < jump_probability(p, x, keep[i], keep[i + 1])).to(torch.uint8)  # closed form (E4)
        return p

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, in a random order.

        The i-th of K bits is predicted at t = T (K - i) / K, where a share i / K of bits is clean, as here, with noise in the place of the
        later bits; the evidence of the noise in its own place is removed. So these are conditional probabilities given the bits before,
        and the likelihoods of all 2^K codes sum to 1 for any order and noise from `uniform`.
        """
        embedded = self.net.from_condition(conditions)
        order, x = uniform().argsort(1), (uniform() < 0.5).to(torch.uint8)
        timesteps = [math.ceil(self.spec.steps * (self.bits - i) / self.bits) for i in range(self.bits)]
        times = self.net.embed_time(on_device(timesteps, conditions.device) - 1)
        for i, t in enumerate(timesteps):
            column, k_t = order[:, i : i + 1], 1 - t / self.spec.steps
            sign = 1 - 2 * x.gather(1, column).float()  # -1 where the noise of that bit is 1
            logits = self._logits(x, times[i], embedded, 1.0).gather(1, column) * (1.0 if self.spec.target == "x_0" else sign)
            bit = yield column, logits + sign * (math.log1p(k_t) - math.log1p(-k_t))
            x = x.scatter(1, column, bit.to(x.dtype))

    def _guided(self, x: Tensor, time: Tensor, embedded: Tensor, guidance_scale: float) -> Tensor:
        """P(x_0 = 1) of bits x (m, K) at embedded times (H,) or (m, H) and conditions (branches, m, H)."""
        return self.p_0(self._logits(x, time, embedded, guidance_scale), x)

    def _logits(self, x: Tensor, time: Tensor, embedded: Tensor, guidance_scale: float) -> Tensor:
        """Logits (m, K) of the target, in float32."""
        signs = (x * 2.0 - 1.0).to(embedded.dtype)
        return guided(self.net(signs.expand(len(embedded), *x.shape), time, embedded), guidance_scale)  # both branches in one call (E3)
