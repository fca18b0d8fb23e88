"""The tokenizer's game (Binary Latent Diffusion, arXiv 2304.04820; VQGAN, arXiv 2012.09841): reconstruction and an adversarial PatchGAN.

    mean |x - x'| + squared (x - x')^2 + perceptual + spectral + w (-mean D(x'))
    w = clamp(|grad reconstruction| / (|grad adversarial| + 1e-4), 0, 1)

Other weights and losses, LeCam and FQGAN's representation loss are fields of `TokenizerLosses`, off unless they are set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitmosaic.losses import patchgan
from bitmosaic.losses.diffaugment import diffaugment
from bitmosaic.losses.lecam import LeCam
from bitmosaic.losses.patchgan import DISCRIMINATOR, GENERATOR, LossName
from bitmosaic.losses.reconstruction import l1, perceptual, squared
from bitmosaic.losses.representation import RepresentationSpec, info_nce, pooled
from bitmosaic.losses.spectral import spectral
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.quantizers.base import Quantized
from bitmosaic.spec import Spec, later
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.code_use import CodeUse
from bitmosaic.train.game import Game, Notice, Turn, frozen


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
    l1_weight: float = later(1.0, lambda _: 1.0)  # of the mean absolute difference
    discriminator_loss: LossName = later("hinge", lambda _: "hinge")  # what the discriminator minimises, a name in `losses.patchgan`
    generator_loss: LossName = later("hinge", lambda _: "hinge")  # what the tokenizer minimises of its logits
    balance: Literal["adaptive", "constant"] = later("adaptive", lambda _: "adaptive")  # constant: there is no adaptive weight
    adaptive_limit: float = later(1.0, lambda _: 1.0)  # the most that the adaptive weight may be, published 1e4
    lecam_weight: float = later(0.0, lambda _: 0.0)  # of LeCam's penalty in the discriminator's loss
    lecam_decay: float = later(0.999, lambda _: 0.999)  # of its running means of logits
    representation: tuple[RepresentationSpec, ...] = later((), lambda _: [])  # FQGAN's loss of some codebooks

    def __post_init__(self):
        for name in (f.name for f in fields(self) if f.type in ("int", "float")):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}; want a finite number, not negative")
        if not self.lecam_decay < 1:
            raise ValueError(f"lecam_decay: got {self.lecam_decay}; want a number in [0, 1)")
        for name, known in (("discriminator_loss", DISCRIMINATOR), ("generator_loss", GENERATOR), ("balance", ("adaptive", "constant"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; give one of {', '.join(known)}")

    @property
    def asks_features(self) -> bool:
        """Whether a feature network is needed."""
        return self.perceptual_weight > 0 or len(self.representation) > 0


class TokenizerGame(Game):
    """Players "tokenizer" and, where wanted, "discriminator" and "heads", which predict features for the representation loss and are not
    part of the tokenizer. `features` is a frozen network with `maps(images)`.

    `memory` counts codes, unless places hold more than 18 bits: metrics "used" and "perplexity", and "restarted", the dead codewords moved
    so far.
    LeCam's running means are buffers of the discriminator, saved and resumed with it.
    """

    late_memory = True  # use was not always counted

    def __init__(self, tokenizer: Tokenizer, losses: TokenizerLosses, features: nn.Module | None = None):
        if losses.asks_features and features is None:
            what = "representation is" if losses.representation else f"perceptual_weight is {losses.perceptual_weight}"
            raise ValueError(f"features: {what}{' given' if losses.representation else ''} but no feature network was given")
        self.losses, self.features = losses, features
        self.players: dict[str, nn.Module] = {"tokenizer": tokenizer}
        if losses.representation:
            self.players["heads"] = self._heads(tokenizer)
        if losses.discriminator is not None:
            self.players["discriminator"] = discriminator = losses.discriminator.build()
            if losses.lecam_weight:
                discriminator.add_module("lecam", LeCam())
        self.memory = CodeUse.of(tokenizer.radix)

    def _heads(self, tokenizer: Tokenizer) -> nn.ModuleList:
        """A head for each representation loss. ValueError for a codebook or a map of the feature network that is not there."""
        widths = _widths(tokenizer)
        device = next((p.device for p in self.features.parameters()), torch.device("cpu"))
        with torch.no_grad():
            maps = self.features.maps(torch.zeros(1, tokenizer.channels, *tokenizer.size, device=device))
        for spec in self.losses.representation:
            pooled(maps, spec)
            if spec.book >= len(widths):
                raise ValueError(f"representation: book {spec.book}, but the quantizer has {len(widths)}, counted from 0")
        return nn.ModuleList(spec.build(widths[spec.book], math.prod(tokenizer.spec.grid)) for spec in self.losses.representation)

    def play(self, batch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """The tokenizer's turn: reconstruction, from `adversarial_start` on with the adversarial loss; then, from the lead on, the
        discriminator's, on images (b, c, H, W) and reconstructions.
        """
        tokenizer, losses = self.players["tokenizer"], self.losses
        images = tokenizer.medium.floats(batch.images.to(rng.device))
        made, quantized = tokenizer(images, rng)
        metrics = {"l1": l1(images, made), **self._use(quantized, getattr(batch, "epoch", 0.0))}
        loss = losses.l1_weight * metrics["l1"]
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
        if losses.representation:
            with frozen(self.players["heads"]):
                metrics["representation"] = self._representation(images, quantized.z)
            extra = extra + metrics["representation"]
        metrics = {"loss": loss + extra, **metrics}
        if losses.discriminator is not None and step >= losses.adversarial_start:
            yield self._deceive(made, loss, extra, metrics, rng)
        else:
            yield Turn("tokenizer", loss + extra, _detached(metrics))
        if losses.representation:  # the same loss, which is the tokenizer's and the heads': each moves by its own gradient of it
            loss = self._representation(images, quantized.z.detach())
            yield Turn("heads", loss, _detached({"heads": loss}))
        if losses.discriminator is not None and step >= losses.adversarial_start - losses.discriminator_lead:
            yield self._judge(images, made.detach(), rng)

    def _judge(self, images: Tensor, made: Tensor, rng: torch.Generator) -> Turn:
        discriminator, losses = self.players["discriminator"], self.losses
        real, fake = discriminator(self._seen(images, rng)), discriminator(self._seen(made, rng))
        loss = DISCRIMINATOR[losses.discriminator_loss](real, fake)
        metrics = {"discriminator": loss, "real": real.mean(), "made": fake.mean()}
        if losses.lecam_weight:
            metrics["lecam"] = discriminator.lecam(real, fake, losses.lecam_decay)
            loss = loss + losses.lecam_weight * metrics["lecam"]
        return Turn("discriminator", loss, _detached(metrics))

    def _deceive(self, made: Tensor, loss: Tensor, extra: Tensor, metrics: dict[str, Tensor], rng: torch.Generator) -> Turn:
        """The reconstruction and adversarial losses with the adaptive weight; gradients at `made` are computed once and used twice."""
        tokenizer, discriminator = self.players["tokenizer"], self.players["discriminator"]
        with frozen(discriminator):
            adversarial = GENERATOR[self.losses.generator_loss](discriminator(self._seen(made, rng)))
            by_reconstruction = torch.autograd.grad(loss, made, retain_graph=True)[0]
            by_adversary = torch.autograd.grad(adversarial, made)[0]
        weight = torch.ones((), device=made.device)
        if self.losses.balance == "adaptive":
            most = self.losses.adaptive_limit
            weight = patchgan.adaptive_weight(made, tokenizer.last_weight, by_reconstruction, by_adversary, most)
        weight = weight * self.losses.adversarial_weight
        gradient = (by_reconstruction + weight * by_adversary).detach()
        return Turn("tokenizer", (made * gradient).sum() + extra, _detached({**metrics, "adversarial": adversarial, "weight": weight}))

    def _representation(self, images: Tensor, z: Tensor) -> Tensor:
        """The weighted sum of the representation losses, of quantized vectors z (b, *grid, d)."""
        with torch.no_grad():
            maps = self.features.maps(images)
        books = z.split(_widths(self.players["tokenizer"]), -1)
        pairs = zip(self.losses.representation, self.players["heads"], strict=True)
        return sum(spec.weight * info_nce(head(books[spec.book]), pooled(maps, spec)) for spec, head in pairs)

    def _use(self, quantized: Quantized, epoch: float) -> dict[str, Tensor]:
        """What is counted of the codebook, where there is one."""
        if self.memory is None:
            return {}
        restarts = [module.restarts for module in self.players["tokenizer"].modules() if hasattr(module, "restarts")]
        return {**self.memory.add(quantized.digits, epoch), **({"restarted": sum(restarts).float()} if restarts else {})}

    def notice(self) -> Notice | None:
        return None if self.memory is None else self.memory.notice()

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


def _widths(tokenizer: Tokenizer) -> list[int]:
    """Numbers of a codeword of each codebook of a tokenizer."""
    return getattr(tokenizer.quantizer, "widths", None) or [tokenizer.quantizer.width]


def _detached(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in metrics.items()}
