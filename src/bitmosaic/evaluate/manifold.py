"""Fidelity and diversity of generated images: precision and recall (Kynkäänniemi et al., arXiv 1904.06991), density and coverage (Naeem
et al., arXiv 2002.09797).

A set's manifold is the union of balls around its features, each with the distance of its k-th nearest neighbour in the set as radius. All
figures depend on network, k and the number of images; we differ in comparing sets of equal size only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Manifold:
    """Four figures of two sets, see `manifold`."""

    precision: float  # share of generated images within the manifold of real ones
    recall: float  # share of real images within that of generated ones
    density: float  # mean number of real balls around a generated image, over k: robust to real outliers; may exceed 1
    coverage: float  # share of real images whose ball holds a generated one


def manifold(made: Tensor, real: Tensor, k: int = 5) -> Manifold:
    """The figures of generated features (n, d) against real ones (n, d), by balls to the k-th neighbour. ValueError unless both have one
    shape and more than k rows.
    """
    if made.ndim != 2 or made.shape != real.shape or not 1 <= k < len(made):
        raise ValueError(f"made {tuple(made.shape)} and real {tuple(real.shape)} must be (n, d) of one shape, k {k} in 1..n-1")
    made, real = made.double(), real.double()
    of_real, of_made = _reach(real, k), _reach(made, k)
    inside = torch.zeros(len(made), dtype=torch.int64)  # number of real balls around each generated image
    recalled, covered = torch.zeros(len(real), dtype=torch.bool), []
    for part, reach in zip(real.split(1000), of_real.split(1000), strict=True):
        distance = torch.cdist(part, made)
        within = distance <= reach[:, None]
        inside += within.sum(0)
        covered.append(within.any(1))
        recalled[1000 * (len(covered) - 1) :][: len(part)] = (distance <= of_made).any(1)
    share = [float(x.double().mean()) for x in (inside > 0, recalled, inside.double() / k, torch.cat(covered))]
    return Manifold(*share)


def precision_recall(made: Tensor, real: Tensor, k: int = 5) -> tuple[float, float]:
    """Precision and recall of `manifold`."""
    found = manifold(made, real, k)
    return found.precision, found.recall


def _reach(points: Tensor, k: int) -> Tensor:
    """The distance (n,) of each point's k-th nearest neighbour; the nearest is the point itself."""
    return torch.cat([torch.cdist(part, points).kthvalue(k + 1, dim=1).values for part in points.split(1000)])
