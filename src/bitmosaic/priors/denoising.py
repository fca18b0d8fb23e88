"""Denoising priors: a chain turns codes to noise, and a network predicts clean codes from noisy ones (D3PM, Austin et al., arXiv
2107.03006).

We differ in timesteps that are spread evenly over a batch, and in given places, which stay clean through the whole chain.
"""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.priors.base import ConditionLike, Prior
from bitmosaic.priors.chain import FLOOR, Chain


class DenoisingPrior(Prior):
    """p(x_0 | x_t, t, condition), of each place by itself; a place holds an index of K codewords, or K, the chain's mask."""

    family = "denoising"
    chain: Chain
    auxiliary: float  # lambda, of the cross-entropy of x_0 in the loss

    @abc.abstractmethod
    def logits(self, x_t: Tensor, t: Tensor, told: Encoded | Tensor) -> Tensor:
        """Logits of x_0, (b, N, K), from codes x_t (b, N) at times t (b,) in 1..T; told: the condition as of `embed`, or vectors (b, D)."""

    def denoise(self, x_t: Tensor, t: Tensor, told: Encoded | Tensor) -> Tensor:
        """log p(x_0 | x_t, t, condition), (b, N, K) float32; arguments as of `logits`.

        Where the chain only masks, codes of x_t that are not masked are certain, whatever the network predicts.
        """
        return self.chain.pinned(self.logits(x_t, t, told).float().log_softmax(-1), x_t)

    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """The variational bound in nats a place, plus lambda times the cross-entropy of x_0, which weighs up to twice as much at early
        times.

        One time for each image, uniform on 1..T, stratified over the batch.
        """
        self.check(codes)
        x_0 = codes.flat()[..., 0].long()
        b, steps, device = len(x_0), self.chain.steps, x_0.device
        u = (torch.rand((), generator=rng, device=device) + torch.arange(b, device=device) / b) % 1
        t = 1 + (u * steps).long().clamp(max=steps - 1)
        x_t = self.chain.noised(x_0, t, torch.rand(2, *x_0.shape, generator=rng, device=device))
        told = self.embed(self.condition.drop(condition, class_dropout, rng), b)
        bound, cross_entropy = step_bound(self.chain, self.denoise(x_t, t, told), x_0, x_t, t - 1, t)
        weight = self.auxiliary * (2 - (t - 1) / steps)
        return steps * (bound.sum(1) + weight * cross_entropy.sum(1)).mean() / codes.places


def step_bound(chain: Chain, log_p_0: Tensor, x_0: Tensor, x_t: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)), or -log p(x_0 | x_t) where s = 0, and -log p(x_0 | x_t) of every place, (b, N) both, in nats.

    log_p_0 (b, N, K); x_0 and x_t (b, N); times s < t (b,). Logarithms end at FLOOR, as in the published program.
    """
    negative = -log_p_0.gather(-1, x_0[..., None])[..., 0]
    q = chain.posterior(chain.certain(x_0), x_t, s, t).clamp(FLOOR, 0)
    p = chain.posterior(log_p_0, x_t, s, t).clamp(FLOOR, 0)
    divergence = (q.exp() * (q - p)).sum(-1)
    return torch.where((s == 0)[:, None], negative, divergence), negative


@torch.no_grad()
def bound_of_places(prior: DenoisingPrior, digits: Tensor, known: Tensor, told: Encoded, noise: Tensor) -> Tensor:
    """An upper bound on the code length in bits of the hidden places of one image, a scalar, by the chain with S jumps.

    digits (N, 1), known (N,); told: the condition of one image; noise (2, S, N) uniforms, by which x_t is drawn at each of S times. In the
    mean over noise it bounds -log2 p of an ancestral sampler with S steps; known places stay clean, as there.
    """
    chain, rounds = prior.chain, noise.shape[1]
    times = torch.tensor(chain.times(rounds), device=digits.device)
    x_0, known = digits[:, 0].long().expand(len(times), -1), known.expand(len(times), -1)
    x_t = torch.where(known, x_0, chain.noised(x_0, times, noise[:, : len(times)]))
    later = torch.cat([times[1:], torch.zeros_like(times[:1])])
    bound, _ = step_bound(chain, prior.denoise(x_t, times, told.expand(len(times))), x_0, x_t, later, times)
    bound[0] += chain.end_bound(x_0[0])
    return (bound * ~known).sum() / math.log(2)
