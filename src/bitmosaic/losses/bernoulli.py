"""The weighted binary cross-entropy of the Bernoulli-diffusion head (BiGR, arXiv 2410.14672, eq. 8)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weighted_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Elementwise loss (..., K) against target bits (..., K).

    With r' the share of ones in a place's target r, the weight is (1 - r') r + r' (1 - r) + 1/K: the rarer value counts more.
    """
    r = target.float()
    share = r.mean(-1, keepdim=True)
    weight = (1 - share) * r + share * (1 - r) + 1 / r.shape[-1]
    return weight * F.binary_cross_entropy_with_logits(logits.float(), r, reduction="none")
