"""The adversarial game of VQGAN (Esser et al., arXiv 2012.09841, eq. 6-7) and of tokenizers after it: losses by name, the adaptive weight.

We differ in computing the gradients at the reconstruction once, for both the adaptive weight and the backward pass. Losses are those of the
published programs, which halve the discriminator's; "non-saturating" (Open-MAGVIT2, arXiv 2409.04410; SimVQ, 2411.02038) is of the mean
logit of an image, "logistic" (BSQ, 2406.07548) of each patch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["hinge", "logistic", "non-saturating"]


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """(mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))) / 2."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean())


def hinge_generator(made: Tensor) -> Tensor:
    """-mean D(x')."""
    return -made.float().mean()


def logistic_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """(mean softplus(-D(x)) + mean softplus(D(x'))) / 2."""
    return 0.5 * (F.softplus(-real.float()).mean() + F.softplus(made.float()).mean())


def logistic_generator(made: Tensor) -> Tensor:
    """mean softplus(-D(x'))."""
    return F.softplus(-made.float()).mean()


def non_saturating_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """mean softplus(-d(x)) + mean softplus(d(x')), d the mean logit of an image; logits (b, ...)."""
    return F.softplus(-_of_image(real)).mean() + F.softplus(_of_image(made)).mean()


def non_saturating_generator(made: Tensor) -> Tensor:
    """mean softplus(-d(x')), d the mean logit of an image; logits (b, ...)."""
    return F.softplus(-_of_image(made)).mean()


def _of_image(logits: Tensor) -> Tensor:
    return logits.float().flatten(1).mean(1)


DISCRIMINATOR: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "hinge": hinge_discriminator, "logistic": logistic_discriminator, "non-saturating": non_saturating_discriminator,
}  # fmt: skip
GENERATOR: dict[LossName, Callable[[Tensor], Tensor]] = {
    "hinge": hinge_generator, "logistic": logistic_generator, "non-saturating": non_saturating_generator,
}  # fmt: skip


def adaptive_weight(
    reconstructed: Tensor, last_weight: Tensor, by_reconstruction: Tensor, by_adversary: Tensor, most: float = 1.0
) -> Tensor:
    """w = clamp(|d reconstruction / d W| / (|d adversarial / d W| + 1e-4), 0, most), a scalar; W is the decoder's `last_weight`.

    `by_reconstruction` and `by_adversary` are the two losses' gradients at `reconstructed` (b, c, H, W).
    """
    norms = [
        torch.autograd.grad(reconstructed, last_weight, g, retain_graph=True)[0].norm() for g in (by_reconstruction, by_adversary)
    ]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0, most)
