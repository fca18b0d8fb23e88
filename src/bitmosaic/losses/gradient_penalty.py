"""R1 (Mescheder et al., arXiv 1801.04406, eq. 9): the squared gradient of the discriminator's logits at real images.

We differ in nothing. Where it is applied every n-th step only (lazily, Karras et al., arXiv 1912.04958), the caller multiplies it by n.
"""

from __future__ import annotations

import torch
from torch import Tensor


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """mean_b |d logit_b / d image_b|^2 / 2, a differentiable scalar; logits (b,) of images (b, ...) that require a gradient."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return 0.5 * gradient.float().square().flatten(1).sum(1).mean()
