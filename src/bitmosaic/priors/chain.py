"""Markov chains that turn codes to noise: absorbing and uniform (D3PM, Austin et al., arXiv 2107.03006), and mask-and-replace, their
mixture.

We differ in exact jumps between any two times, where VQ-Diffusion's fast sampler applies the posterior of one step (Gu et al., 2111.14822).

A place holds one of K codewords, or K, a mask. A step keeps a codeword with probability alpha_t, replaces it by each of the K with beta_t,
and masks it with gamma_t = 1 - alpha_t - K beta_t; a mask stays (eq. 7). So between any two times s < t the chain is of the same kind,

    alpha_ts = abar_t / abar_s,  1 - gamma_ts = (1 - cbar_t) / (1 - cbar_s),  K beta_ts = 1 - alpha_ts - gamma_ts,

and every operation costs O(K) a place: no K x K matrix is ever built. Time 0 is the code, time T nearly or wholly noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitmosaic.spec import Spec

FLOOR = -70.0  # log-probability of impossible events, as in the published programs, so that differences stay finite
LEAST = 1e-30  # smallest number that a logarithm is taken of
OFFSET = 0.008  # of the cosine schedule (Nichol & Dhariwal, arXiv 2102.09672)
FIRST, LAST = 0.99999, 9e-6  # abar_1 and abar_T of mask-and-replace, as published


@dataclass(frozen=True)
class ChainSpec(Spec, abstract=True):
    """Base class of descriptions of chains: the number of steps."""

    steps: int = 100  # T

    def __post_init__(self):
        if not 1 <= self.steps <= 10**6:
            raise ValueError(f"steps: got {self.steps}; want at least one")

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """abar and cbar, the shares of codes that are unchanged and that are masked, at times 0 to T, (T + 1,) float64."""
        raise NotImplementedError

    def build(self, codewords: int) -> Chain:
        """The chain over that many codewords."""
        return Chain(*self.shares(), codewords)


@dataclass(frozen=True)
class AbsorbingSpec(ChainSpec):
    """Codes are masked, equally many in each step: cbar_t = t / T (D3PM, section 3.1)."""

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        masked = np.arange(self.steps + 1) / self.steps
        return 1 - masked, masked


@dataclass(frozen=True)
class UniformSpec(ChainSpec):
    """Codes are replaced by any of the K, none is masked: multinomial diffusion (Hoogeboom et al., arXiv 2102.05379).

    Its cosine schedule as VQ-DDM has it (Hu et al., 2112.01799): alpha_t is the square root of the ratio of two values at T + 1 points.
    """

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        x = np.linspace(0, 1, self.steps + 1)
        f = np.cos((x + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2
        kept = np.append(1.0, np.sqrt((f[1:] / f[:-1]).clip(0.001, 1)).cumprod())
        return kept, np.zeros_like(kept)


@dataclass(frozen=True)
class MaskAndReplaceSpec(ChainSpec):
    """Codes are masked or replaced (VQ-Diffusion, section 3.2): abar falls and cbar rises evenly from time 1 to T."""

    masked: float = 0.9  # cbar_T, as the paper says, so that a tenth is replaced; 0.99999, the published program's, replaces next to none

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.masked <= 1 - LAST:
            raise ValueError(f"masked: got {self.masked}; want a share of codes above 0, at most {1 - LAST}")

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        kept, masked = np.linspace(FIRST, LAST, self.steps), np.linspace(LAST, self.masked, self.steps)
        return np.append(1.0, kept), np.append(0.0, masked)


@dataclass(frozen=True)
class Jump:
    """The logarithms of q(x_t | x_s); each is a scalar, or one an image, (b, 1, 1)."""

    keep: Tensor  # alpha_ts
    replace: Tensor  # beta_ts, of each codeword
    mask: Tensor  # gamma_ts

    @property
    def stay(self) -> Tensor:
        """log(alpha_ts + beta_ts): that a codeword is the same at both times."""
        return torch.logaddexp(self.keep, self.replace)


class Chain:
    """Forward and backward probabilities of one chain. Times are whole numbers, or tensors (b,) of them, one an image."""

    def __init__(self, kept: np.ndarray, masked: np.ndarray, codewords: int):
        """kept, masked: abar and cbar at times 0 to T, float64. ValueError where they are no chain."""
        replaced = 1 - masked - kept
        if kept[0] != 1 or masked[0] != 0 or (replaced < -1e-9).any() or (np.diff(kept) > 0).any() or (np.diff(masked) < 0).any():
            raise ValueError("chain: shares of kept and masked codes must fall from 1 and rise from 0, and never sum to more than 1")
        self.codewords, self.steps = codewords, len(kept) - 1
        self.replaces = bool((replaced > 0).any())  # else a code that is not masked is the original one
        self.masks = bool((masked > 0).any())
        self._shares = list(zip(kept.tolist(), masked.tolist(), strict=True))

    @property
    def states(self) -> int:
        """The number of states: K, and one more where the chain masks."""
        return self.codewords + self.masks

    def times(self, steps: int) -> list[int]:
        """`steps` evenly spaced times, T first, from which the reverse chain jumps towards 0; at most T of them."""
        steps = min(steps, self.steps)
        return [-(-self.steps * (steps - i) // steps) for i in range(steps)]

    def jump(self, s: int | Tensor, t: int | Tensor, device: torch.device | str = "cpu") -> Jump:
        """The jump from time s to t > s; s = 0: q(x_t | x_0)."""
        table = torch.tensor(self._shares, dtype=torch.float64).to(device, non_blocking=True)
        (kept_s, masked_s), (kept_t, masked_t) = table[s].unbind(-1), table[t].unbind(-1)
        keep, unmasked = kept_t / kept_s, (1 - masked_t) / (1 - masked_s)
        parts = (keep, (unmasked - keep) / self.codewords, 1 - unmasked)
        return Jump(*(x.clamp(min=LEAST).log().float().view([*x.shape, *[1] * (2 * x.ndim)]) for x in parts))

    def noised(self, x_0: Tensor, t: int | Tensor, uniform: Tensor) -> Tensor:
        """x_t (b, N) of codes x_0 (b, N), drawn from q(x_t | x_0) by two uniforms a place, (2, b, N)."""
        jump = self.jump(0, t, x_0.device)
        keep, mask = (x.squeeze(-1).exp() for x in (jump.keep, jump.mask))
        other = (uniform[1] * self.codewords).long().clamp(max=self.codewords - 1)
        x_t = torch.where(uniform[0] < 1 - mask, torch.where(uniform[0] < keep, x_0, other), self.codewords)
        return x_t if self.masks else torch.where(uniform[0] < keep, x_0, other)

    def end(self, uniform: Tensor) -> Tensor:
        """x_T (b, N) from two uniforms a place, (2, b, N), from the distribution of x_T that is independent of x_0."""
        masked = self._shares[-1][1]
        other = (uniform[1] * self.codewords).long().clamp(max=self.codewords - 1)
        return torch.where(uniform[0] < masked, self.codewords, other) if self.masks else other

    def pinned(self, log_p_0: Tensor, x_t: Tensor) -> Tensor:
        """log P(x_0) (b, N, K), where the chain only masks with certainty for the codes that x_t (b, N) still shows."""
        if self.replaces:
            return log_p_0
        return torch.where((x_t == self.codewords)[..., None], log_p_0, self.certain(x_t))

    def certain(self, x: Tensor) -> Tensor:
        """log P (b, N, K) of known codes x (b, N): one-hot."""
        words = torch.arange(self.codewords, device=x.device)
        return torch.where(words == x[..., None], 0.0, FLOOR)

    def forward(self, log_p: Tensor, jump: Jump) -> Tensor:
        """log q(x_t) (b, N, K + 1) where x_s has distribution log_p (b, N, K), which need not be normalised."""
        total = log_p.logsumexp(-1, keepdim=True)
        return torch.cat([torch.logaddexp(log_p + jump.keep, jump.replace + total), jump.mask + total], -1)

    def likelihood(self, x_t: Tensor, jump: Jump) -> Tensor:
        """log q(x_t | x_s) (b, N, K) of codes x_t (b, N), for every codeword x_s."""
        words = torch.arange(self.codewords, device=x_t.device)
        there = torch.where(words == x_t[..., None], jump.stay, jump.replace)
        return torch.where((x_t == self.codewords)[..., None], jump.mask, there)

    def posterior(self, log_p_0: Tensor, x_t: Tensor, s: int | Tensor, t: int | Tensor) -> Tensor:
        """log p(x_s | x_t) = log sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t) (eq. 11), (b, N, K + 1), for s < t.

        log_p_0 (b, N, K): log p(x_0 | x_t), or a known code (`certain`), which gives q(x_s | x_t, x_0) (eq. 5). The sum costs O(K):
        q(x_s | x_0) is linear in x_0, so it can be applied to p(x_0 | x_t) / q(x_t | x_0), which is not normalised.
        """
        begun, step, whole = (self.jump(*pair, x_t.device) for pair in ((0, s), (s, t), (0, t)))
        mask = torch.where(x_t == self.codewords, 0.0, -math.inf)[..., None]  # a mask stays, so x_t unmasked excludes x_s masked
        seen = torch.cat([self.likelihood(x_t, step), mask], -1)
        return self.forward(log_p_0 - self.likelihood(x_t, whole), begun) + seen

    def end_bound(self, x_0: Tensor) -> Tensor:
        """KL(q(x_T | x_0) || distribution of `end`) of each place, (b, N), in nats."""
        kept, masked = self._shares[-1]
        p = (1 - masked) / self.codewords  # of each codeword
        q = kept + (1 - masked - kept) / self.codewords  # of the one that was there
        other = (1 - masked - kept) / self.codewords
        rest = sum(n * a * math.log(a / p) for n, a in ((1, q), (self.codewords - 1, other)) if a > 0)
        return torch.full(x_0.shape, rest, device=x_0.device)
