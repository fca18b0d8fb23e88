"""The tokenizer's game (Binary Latent Diffusion, arXiv 2304.04820; VQGAN, arXiv 2012.09841): reconstruct, and deceive a PatchGAN.

    mean |x - x'| + perceptual + w (-mean D(x')),   w = clamp(|grad reconstruction| / (|grad adversarial| + 1e-4), 0, 1)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.losses import patchgan
from bitmosaic.losses.diffaugment import diffaugment
from bitmosaic.losses.reconstruction import l1, perceptual
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder
from bitmosaic.train.game import Game, Turn, frozen


@dataclass(frozen=True)
class TokenizerLosses(Spec):
    """What a tokenizer is trained on; the adversarial part is on where `discriminator` is given."""

    perceptual_weight: float = 0.0  # of the distance over the feature network's maps
    discriminator: PatchGANSpec | None = None  # None: no adversarial part
    adversarial_start: int = 0  # first step of the adversarial part
    adversarial_weight: float = 1.0  # times the adaptive weight
    diffaugment: bool = True  # on what the discriminator sees


class TokenizerGame(Game):
    """Players "tokenizer" and, where wanted, "discriminator". `features` is a frozen network with `maps(images)`."""

    def __init__(self, tokenizer: BinaryAutoencoder, losses: TokenizerLosses, features: nn.Module | None = None):
        if losses.perceptual_weight and features is None:
            raise ValueError(f"features: perceptual_weight is {losses.perceptual_weight} but no feature network was given")
        self.losses, self.features = losses, features
        self.players: dict[str, nn.Module] = {"tokenizer": tokenizer}
        if losses.discriminator is not None:
            self.players["discriminator"] = losses.discriminator.build()

    def play(self, batch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        images = batch.images.to(rng.device).float() / 255
        tokenizer, losses = self.players["tokenizer"], self.losses
        made, quantized = tokenizer(images, rng)
        metrics = {"l1": l1(images, made)}
        loss = metrics["l1"] + sum(quantized.losses.values())
        if losses.perceptual_weight:
            metrics["perceptual"] = perceptual(self.features, images, made)
            loss = loss + losses.perceptual_weight * metrics["perceptual"]
        metrics = {"loss": loss, **metrics}
        if losses.discriminator is None or step < losses.adversarial_start:
            yield Turn("tokenizer", loss, _detached(metrics))
            return
        discriminator = self.players["discriminator"]
        with frozen(discriminator):
            adversarial = patchgan.hinge_generator(discriminator(self._seen(made, rng)))
            by_reconstruction = torch.autograd.grad(loss, made, retain_graph=True)[0]
            by_adversary = torch.autograd.grad(adversarial, made)[0]
        weight = patchgan.adaptive_weight(made, tokenizer.last_weight, by_reconstruction, by_adversary)
        weight = weight * losses.adversarial_weight
        gradient = (by_reconstruction + weight * by_adversary).detach()
        yield Turn("tokenizer", (made * gradient).sum(), _detached({**metrics, "adversarial": adversarial, "weight": weight}))
        made = made.detach()
        real, fake = discriminator(self._seen(images, rng)), discriminator(self._seen(made, rng))
        loss = patchgan.hinge_discriminator(real, fake)
        yield Turn("discriminator", loss, _detached({"discriminator": loss, "real": real.mean(), "made": fake.mean()}))

    def _seen(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return diffaugment(images, rng) if self.losses.diffaugment else images


def _detached(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in metrics.items()}
