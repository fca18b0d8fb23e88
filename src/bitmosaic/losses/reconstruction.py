"""Reconstruction: L1 and a perceptual distance (LPIPS, Zhang et al., arXiv 1801.03924, eq. 1).

We differ in weighting all channels alike, so that any feature network serves without calibration on human judgements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def l1(images: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean absolute difference, a scalar."""
    return (images.float() - reconstructed.float()).abs().mean()


def squared(images: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared difference, a scalar."""
    return (images.float() - reconstructed.float()).square().mean()


def perceptual(net: nn.Module, images: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean over images and places of |u - v|^2, u and v the unit channel vectors of each of `net.maps`, summed over maps."""
    with torch.no_grad():
        wanted = net.maps(images)
    return sum((_squared_angle(a, b) for a, b in zip(wanted, net.maps(reconstructed), strict=True)), torch.zeros(()))


def _squared_angle(a: Tensor, b: Tensor) -> Tensor:
    """|u|^2 + |v|^2 - 2 u.v with u = a / sqrt(|a|^2 + eps), which avoids two full-size divisions; u of a zero vector is zero."""
    a, b = a.float(), b.float()
    eps, aa, bb, ab = 1e-10, a.square().sum(1), b.square().sum(1), (a * b).sum(1)
    return (aa / (aa + eps) + bb / (bb + eps) - 2 * ab / ((aa + eps) * (bb + eps)).sqrt()).mean()
