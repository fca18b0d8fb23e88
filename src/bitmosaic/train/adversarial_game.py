"""A generator against a discriminator (Goodfellow et al., arXiv 1406.2661): with lazy R1 and DiffAugment, two players in turn on a batch.

We differ in generating images of the classes of the batch, so that classes are as frequent as in the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic.generators.base import Generator
from bitmosaic.losses.adversarial import AdversarialLossSpec, HingeSpec
from bitmosaic.losses.diffaugment import diffaugment
from bitmosaic.losses.gradient_penalty import r1
from bitmosaic.nets.discriminators.base import Discriminator
from bitmosaic.spec import Spec
from bitmosaic.train.game import Game, Turn, frozen


@dataclass(frozen=True)
class AdversarialLosses(Spec):
    """What a generator and a discriminator minimise, and how often."""

    loss: AdversarialLossSpec = HingeSpec()
    r1_weight: float = 0.0  # gamma of R1, on augmented real images; 0: none
    r1_every: int = 16  # steps between two applications of R1, by which it is multiplied
    diffaugment: bool = True  # of real and generated images
    generator_every: int = 1  # the generator moves in every n-th step, the discriminator in every step

    def __post_init__(self):
        if not 0 <= self.r1_weight < math.inf:
            raise ValueError(f"r1_weight: got {self.r1_weight}; want a finite number, not negative")
        if min(self.r1_every, self.generator_every) < 1:
            raise ValueError(f"r1_every: got {self.r1_every}, generator_every: got {self.generator_every}; want at least 1")


class AdversarialGame(Game):
    """Players "generator" and "discriminator"; the latter moves first."""

    def __init__(self, generator: Generator, discriminator: Discriminator, losses: AdversarialLosses):
        self.players = {"generator": generator, "discriminator": discriminator}
        self.losses = losses
        self.period = math.lcm(losses.generator_every, losses.r1_every if losses.r1_weight else 1)

    def play(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """The discriminator learns on images (b, C, H, W) uint8 and as many generated ones; then the generator learns on new ones."""
        images = batch.images.to(rng.device).float() / 255
        labels = batch.labels.to(rng.device) if batch.labels is not None and self.players["generator"].classes else None
        yield self._judge(images, labels, step, rng)
        if (step + 1) % self.losses.generator_every == 0:
            yield self._deceive(len(images), labels, rng)

    def _judge(self, images: Tensor, labels: Tensor | None, step: int, rng: torch.Generator) -> Turn:
        discriminator, losses = self.players["discriminator"], self.losses
        with torch.no_grad():
            made = self._made(len(images), labels, rng)
        penalised = losses.r1_weight > 0 and step % losses.r1_every == 0
        seen = self._seen(images, rng)
        if penalised:
            seen = seen.requires_grad_().clone()  # not a leaf, whose gradient torch's counters would miss
        real = discriminator(seen, labels)
        fake = discriminator(self._seen(made, rng), labels)
        loss = losses.loss.discriminator(real, fake)
        metrics = {"discriminator": loss.detach(), "real": real.detach().mean(), "made": fake.detach().mean()}
        if penalised:
            penalty = r1(real, seen)
            loss, metrics["r1"] = loss + losses.r1_weight * losses.r1_every * penalty, penalty.detach()
        return Turn("discriminator", loss, metrics)

    def _deceive(self, count: int, labels: Tensor | None, rng: torch.Generator) -> Turn:
        discriminator = self.players["discriminator"]
        made = self._made(count, labels, rng)
        with frozen(discriminator):
            loss = self.losses.loss.generator(discriminator(self._seen(made, rng), labels))
        return Turn("generator", loss, {"generator": loss.detach()})

    def _made(self, count: int, labels: Tensor | None, rng: torch.Generator) -> Tensor:
        generator = self.players["generator"]
        return generator(torch.randn(count, generator.spec.latent, generator=rng, device=rng.device), labels)

    def _seen(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return diffaugment(images, rng) if self.losses.diffaugment else images
