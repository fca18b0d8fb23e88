"""Categorical distributions: draws by inverse transform from one uniform number each, and relative entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def drawn(p: Tensor, uniform: Tensor) -> Tensor:
    """Indices (m,) of probabilities (m, V), which need not sum to 1, by uniforms (m,) in [0, 1).

    The first index at which the cumulative probability exceeds the uniform. A row does not depend on the others.
    """
    cumulative = p.cumsum(-1)
    last = (p > 0).long().cumsum(-1).argmax(-1)  # the last index of positive probability, which rounding must not exceed
    return torch.minimum((cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1), last)


def relative_entropy(p: Tensor) -> Tensor:
    """Entropy (...) of probabilities (..., V), divided by log V: 0 to 1."""
    return (-torch.special.xlogy(p, p).sum(-1) / math.log(p.shape[-1])).clamp(0, 1)
