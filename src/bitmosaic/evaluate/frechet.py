"""The Frechet distance of two sets of images, as Gaussians of features (Heusel et al., arXiv 1706.08500, eq. 6).

We differ in taking any network's `embed`. Only with Inception's published weights is this the FID; with another network
it is "a Frechet distance", comparable only with distances of the same network at the same number of images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from bitmosaic.evaluate.mode import measuring
from bitmosaic.images import ImageSet, in_order, to_uint8

WIDEST = 8192  # width of a feature; a larger covariance takes over half a GiB, and minutes


@dataclass(frozen=True)
class Statistics:
    """A Gaussian fitted to features: all that a Frechet distance needs of a set."""

    mean: Tensor  # (d,) float64
    covariance: Tensor  # (d, d) float64, of divisor count - 1
    count: int  # images

    @staticmethod
    def of(features: Tensor) -> Statistics:
        """The statistics of features (n, d). ValueError for fewer than two rows or more than WIDEST columns."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features: got {tuple(features.shape)}; want (n, d) with at least 2 rows")
        if features.shape[1] > WIDEST:
            raise ValueError(f"features: {features.shape[1]} wide; a covariance is taken of {WIDEST} at most")
        x = features.double()
        return Statistics(x.mean(0), x.T.cov().reshape(x.shape[1], x.shape[1]), len(x))

    @cached_property
    def root(self) -> Tensor:
        """R with R R' = covariance; eigenvalues that are negative by rounding count as 0."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp(min=0).sqrt()

    def checksum(self) -> str:
        """SHA-256 of mean, covariance and count."""
        digest = hashlib.sha256(str(self.count).encode())
        for part in (self.mean, self.covariance):
            digest.update(part.contiguous().numpy())
        return digest.hexdigest()


def feature_statistics(net: nn.Module, images: Iterable[Tensor]) -> Statistics:
    """Mean and covariance of `net.embed` over batches of images, each (b, C, H, W), uint8 or float in [0, 1].

    Batches are read once and not kept. ValueError for fewer than two images, and for features that are not finite.
    """
    if not hasattr(net, "embed"):
        raise ValueError(f"net: {type(net).__name__} has no embed(images) -> (b, d); give a network with one")
    count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    with measuring(net) as device:
        for batch in images:
            pixels = batch.to(device)
            x = net.embed(pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels).cpu().double()
            if x.ndim != 2 or not x.isfinite().all():
                raise ValueError(f"net: features {tuple(x.shape)} should be finite and (images, d)")
            if len(x) == 0:
                continue
            here = x.mean(0)
            step, share = here - mean, len(x) / (count + len(x))
            scatter = scatter + (x - here).T @ (x - here) + torch.outer(step, step) * (count * share)
            count, mean = count + len(x), mean + step * share
    if count < 2:
        raise ValueError(f"images: got {count}; a covariance needs at least 2")
    return Statistics(mean, scatter / (count - 1), count)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """d^2 = |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), not less than 0. Covariances may be singular.

    With C = R R', Tr (C_a C_b)^(1/2) is the sum of the singular values of R_a' R_b.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"b: features of width {len(b.mean)} against {len(a.mean)} in a; take both from one network")
    cross = torch.linalg.svdvals(a.root.T @ b.root).sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(0.0, float(distance))


def frechet_to_images(net: nn.Module, made: Tensor, reference: ImageSet, batch_size: int = 250) -> float:
    """The Frechet distance from generated images, float (n, C, H, W) in [0, 1], to a set. ValueError for other shapes.

    Generated images are rounded to 8 bits, as they would be saved. To compare with one set often, keep its
    `feature_statistics`.
    """
    shape = (reference.channels, *reference.size)
    if made.ndim != 4 or tuple(made.shape[1:]) != shape:
        raise ValueError(f"made: got {tuple(made.shape)}; want (n, {', '.join(map(str, shape))})")
    ours = feature_statistics(net, to_uint8(made).split(batch_size))
    return frechet_distance(ours, feature_statistics(net, (batch.images for batch in in_order(reference, batch_size))))
