"""Categorical distributions (m, V): draws by one uniform each, and how unsure they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def drawn(p: Tensor, uniform: Tensor) -> Tensor:
    """Indices (m,) of probabilities (m, V), which need not sum to 1, by uniforms (m,) in [0, 1).

    The first index at which the cumulative probability exceeds the uniform: one row hangs on no other.
    """
    cumulative = p.cumsum(-1)
    last = (p > 0).long().cumsum(-1).argmax(-1)  # of those with any probability: rounding must not go past it
    return torch.minimum((cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1), last)


def relative_entropy(p: Tensor) -> Tensor:
    """Entropy (...) of probabilities (..., V) over the log V of equal ones, from 0 to 1."""
    return (-torch.special.xlogy(p, p).sum(-1) / math.log(p.shape[-1])).clamp(0, 1)
