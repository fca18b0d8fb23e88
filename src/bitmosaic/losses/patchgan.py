"""The adversarial game of VQGAN (Esser et al., arXiv 2012.09841, eq. 6-7): hinge losses and the adaptive weight.

We differ in computing the gradients at the reconstruction once, for both the adaptive weight and the backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """(mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))) / 2."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean())


def hinge_generator(made: Tensor) -> Tensor:
    """-mean D(x')."""
    return -made.float().mean()


def adaptive_weight(reconstructed: Tensor, last_weight: Tensor, by_reconstruction: Tensor, by_adversary: Tensor) -> Tensor:
    """w = clamp(|d reconstruction / d W| / (|d adversarial / d W| + 1e-4), 0, 1), a scalar; W is the decoder's `last_weight`.

    `by_reconstruction` and `by_adversary` are the two losses' gradients at `reconstructed` (b, c, H, W).
    """
    norms = [
        torch.autograd.grad(reconstructed, last_weight, g, retain_graph=True)[0].norm() for g in (by_reconstruction, by_adversary)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, 1)
