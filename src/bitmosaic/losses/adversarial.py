"""Adversarial losses: hinge (arXiv 1705.02894), logistic (1406.2661), least squares (1611.04076), Wasserstein (1701.07875).

Each is a pair of losses, of the discriminator and of the generator, of logits r of real images and f of generated ones.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from bitmosaic.spec import Spec


@dataclass(frozen=True)
class AdversarialLossSpec(Spec, abc.ABC, abstract=True):
    """A pair of losses of logits of any shape; scalars, computed in float32."""

    @abc.abstractmethod
    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        """The discriminator's loss, of its logits of real and of generated images."""

    @abc.abstractmethod
    def generator(self, made: Tensor) -> Tensor:
        """The generator's loss, of the discriminator's logits of generated images."""


@dataclass(frozen=True)
class HingeSpec(AdversarialLossSpec):
    """mean max(0, 1 - r) + mean max(0, 1 + f); -mean f."""

    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        return F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()

    def generator(self, made: Tensor) -> Tensor:
        return -made.float().mean()


@dataclass(frozen=True)
class LogisticSpec(AdversarialLossSpec):
    """mean softplus(-r) + mean softplus(f); mean softplus(-f), which does not saturate."""

    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()

    def generator(self, made: Tensor) -> Tensor:
        return F.softplus(-made.float()).mean()


@dataclass(frozen=True)
class LeastSquaresSpec(AdversarialLossSpec):
    """mean (r - 1)^2 / 2 + mean f^2 / 2; mean (f - 1)^2 / 2."""

    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        return 0.5 * (real.float() - 1).square().mean() + 0.5 * made.float().square().mean()

    def generator(self, made: Tensor) -> Tensor:
        return 0.5 * (made.float() - 1).square().mean()


@dataclass(frozen=True)
class WassersteinSpec(AdversarialLossSpec):
    """mean f - mean r; -mean f. The discriminator must be kept Lipschitz by other means, such as spectral normalisation."""

    def discriminator(self, real: Tensor, made: Tensor) -> Tensor:
        return made.float().mean() - real.float().mean()

    def generator(self, made: Tensor) -> Tensor:
        return -made.float().mean()
