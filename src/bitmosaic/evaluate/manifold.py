"""Precision and recall of made images (Kynkäänniemi et al., arXiv 1904.06991): are they like real ones, and are real ones like them?

A set's manifold is the union of balls around its features, each reaching to its k-th nearest neighbour in the set. Both figures depend on
network, k and the number of images; we compare sets of one size only.
"""

from __future__ import annotations

import torch
from torch import Tensor


def precision_recall(made: Tensor, real: Tensor, k: int = 5) -> tuple[float, float]:
    """The share of made features (n, d) within the manifold of real ones (n, d), and of real ones within that of made ones.

    Raises ValueError unless both have one shape and more than k rows.
    """
    if made.ndim != 2 or made.shape != real.shape or not 1 <= k < len(made):
        raise ValueError(f"made {tuple(made.shape)} and real {tuple(real.shape)} must be (n, d) of one shape, k {k} in 1..n-1")
    made, real = made.double(), real.double()
    return _share_within(made, real, k), _share_within(real, made, k)


def _share_within(points: Tensor, manifold: Tensor, k: int, at_once: int = 1000) -> float:
    """Of `points`, the share that lies in a ball of `manifold`."""
    reach = torch.cat([torch.cdist(part, manifold).kthvalue(k + 1, dim=1).values for part in manifold.split(at_once)])  # 0 is itself
    inside = torch.cat([(torch.cdist(part, manifold) <= reach).any(1) for part in points.split(at_once)])
    return float(inside.double().mean())
