"""The kernel distance of two sets of images: squared maximum mean discrepancy of features (Bińkowski et al., arXiv 1801.01401, section 4).

We differ in taking all pairs of images once, where the paper averages over random subsets: the same expectation with less variance.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kernel_distance(a: Tensor, b: Tensor, at_once: int = 1000) -> float:
    """Unbiased MMD^2 of features (n, d) and (m, d) under k(x, y) = (x.y / d + 1)^3; for equal distributions its expectation is 0, so it may
    be negative.

    ValueError unless both have one width and at least two rows.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"a {tuple(a.shape)} and b {tuple(b.shape)} must be (n, d) and (m, d), of at least two rows each")
    a, b = a.double(), b.double()
    return _mean(a, a, at_once, own=True) + _mean(b, b, at_once, own=True) - 2 * _mean(a, b, at_once, own=False)


def _mean(a: Tensor, b: Tensor, at_once: int, own: bool) -> float:
    """The mean of k over all pairs of rows; own: a and b are one set, and pairs of a row with itself are left out."""
    total = torch.stack([((part @ b.T) / a.shape[1] + 1).pow(3).sum() for part in a.split(at_once)]).sum()
    if not own:
        return float(total / (len(a) * len(b)))
    return float((total - (a.square().sum(1) / a.shape[1] + 1).pow(3).sum()) / (len(a) * (len(a) - 1)))
