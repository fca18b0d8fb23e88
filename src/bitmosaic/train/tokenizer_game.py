"""The tokenizer's game (Binary Latent Diffusion, arXiv 2304.04820; VQGAN, arXiv 2012.09841): reconstruction and an adversarial PatchGAN.

    mean |x - x'| + squared (x - x')^2 + perceptual + spectral + w (-mean D(x'))
    w = clamp(|grad reconstruction| / (|grad adversarial| + 1e-4), 0, 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.losses import patchgan
from bitmosaic.losses.diffaugment import diffaugment
from bitmosaic.losses.reconstruction import l1, perceptual, squared
from bitmosaic.losses.spectral import spectral
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.quantizers.base import Quantized
from bitmosaic.spec import Spec, later
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.code_use import CodeUse
from bitmosaic.train.game import Game, Turn, frozen


@dataclass(frozen=True)
class TokenizerLosses(Spec):
    """What a tokenizer is trained on; the adversarial part is on where `discriminator` is given."""

    squared_weight: float = 0.0  # of the mean squared difference, beside the mean absolute one
    perceptual_weight: float = 0.0  # of the distance over the feature network's maps
    spectral_weight: float = later(0.0, lambda _: 0.0)  # of the difference of short-time spectra, of sound
    discriminator: PatchGANSpec | None = None  # None: no adversarial part
    adversarial_start: int = 0  # first step of the adversarial part
    adversarial_weight: float = 1.0  # times the adaptive weight
    discriminator_lead: int = 0  # steps before that in which only the discriminator learns
    discriminator_rate: float = 1.0  # its learning rate over the tokenizer's
    diffaugment: bool = True  # of the discriminator's inputs

    def __post_init__(self):
        for name in (f.name for f in fields(self) if f.name not in ("discriminator", "diffaugment")):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}; want a finite number, not negative")


class TokenizerGame(Game):
    """Players "tokenizer" and, where wanted, "discriminator". `features` is a frozen network with `maps(images)`.

    Where places hold indices, `memory` counts them: metrics "used" and "perplexity", and "restarted", the dead codewords moved so far.
    """

    def __init__(self, tokenizer: Tokenizer, losses: TokenizerLosses, features: nn.Module | None = None):
        if losses.perceptual_weight and features is None:
            raise ValueError(f"features: perceptual_weight is {losses.perceptual_weight} but no feature network was given")
        self.losses, self.features = losses, features
        self.players: dict[str, nn.Module] = {"tokenizer": tokenizer}
        if losses.discriminator is not None:
            self.players["discriminator"] = losses.discriminator.build()
        if max(tokenizer.radix) > 2:
            self.memory = CodeUse(tokenizer.radix)

    def play(self, batch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """The tokenizer's turn: reconstruction, from `adversarial_start` on with the adversarial loss; then, from the lead on, the
        discriminator's, on images (b, c, H, W) and reconstructions.
        """
        tokenizer, losses = self.players["tokenizer"], self.losses
        images = tokenizer.medium.floats(batch.images.to(rng.device))
        made, quantized = tokenizer(images, rng)
        metrics = {"l1": l1(images, made), **self._use(quantized, getattr(batch, "epoch", 0.0))}
        loss = metrics["l1"]
        if losses.squared_weight:
            metrics["squared"] = squared(images, made)
            loss = loss + losses.squared_weight * metrics["squared"]
        if losses.perceptual_weight:
            metrics["perceptual"] = perceptual(self.features, images, made)
            loss = loss + losses.perceptual_weight * metrics["perceptual"]
        if losses.spectral_weight:
            metrics["spectral"] = spectral(images, made)
            loss = loss + losses.spectral_weight * metrics["spectral"]
        extra = sum(quantized.losses.values(), torch.zeros((), device=images.device))  # of the quantizer, such as a commitment
        metrics = {"loss": loss + extra, **metrics}
        if losses.discriminator is not None and step >= losses.adversarial_start:
            yield self._deceive(made, loss, extra, metrics, rng)
        else:
            yield Turn("tokenizer", loss + extra, _detached(metrics))
        if losses.discriminator is not None and step >= losses.adversarial_start - losses.discriminator_lead:
            discriminator, made = self.players["discriminator"], made.detach()
            real, fake = discriminator(self._seen(images, rng)), discriminator(self._seen(made, rng))
            loss = patchgan.hinge_discriminator(real, fake)
            yield Turn("discriminator", loss, _detached({"discriminator": loss, "real": real.mean(), "made": fake.mean()}))

    def _deceive(self, made: Tensor, loss: Tensor, extra: Tensor, metrics: dict[str, Tensor], rng: torch.Generator) -> Turn:
        """The reconstruction and adversarial losses with the adaptive weight; gradients at `made` are computed once and used twice."""
        tokenizer, discriminator = self.players["tokenizer"], self.players["discriminator"]
        with frozen(discriminator):
            adversarial = patchgan.hinge_generator(discriminator(self._seen(made, rng)))
            by_reconstruction = torch.autograd.grad(loss, made, retain_graph=True)[0]
            by_adversary = torch.autograd.grad(adversarial, made)[0]
        weight = patchgan.adaptive_weight(made, tokenizer.last_weight, by_reconstruction, by_adversary)
        weight = weight * self.losses.adversarial_weight
        gradient = (by_reconstruction + weight * by_adversary).detach()
        return Turn("tokenizer", (made * gradient).sum() + extra, _detached({**metrics, "adversarial": adversarial, "weight": weight}))

    def _use(self, quantized: Quantized, epoch: float) -> dict[str, Tensor]:
        """What is counted of the codebook, where there is one."""
        if self.memory is None:
            return {}
        restarts = [module.restarts for module in self.players["tokenizer"].modules() if hasattr(module, "restarts")]
        return {**self.memory.add(quantized.digits, epoch), **({"restarted": sum(restarts).float()} if restarts else {})}

    def groups(self, player: str) -> list[dict[str, Any]]:
        """All parameters in one group; the discriminator's learning rate is its own."""
        rate = self.losses.discriminator_rate if player == "discriminator" else 1.0
        return [{"params": list(self.players[player].parameters()), "decay": True, "rate": rate}]

    def compile(self) -> None:
        """torch.compile of both players; buffers are not given away, since the adaptive weight walks the decoder's graph twice."""
        from torch._functorch import config

        config.donated_buffer = False
        super().compile()

    def _seen(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return diffaugment(images, rng) if self.losses.diffaugment else images


def _detached(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in metrics.items()}
