"""The base class of discriminators of images, and the class-conditional projection head (Miyato and Koyama, arXiv 1802.05637, eq. 4)."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from bitmosaic.spec import Spec

EPS = 1e-6  # of power iterations, StudioGAN's


@dataclass(frozen=True)
class DiscriminatorSpec(Spec, abc.ABC, abstract=True):
    """Sizes of a discriminator's input."""

    image_size: tuple[int, int] = (16, 16)  # height, width
    channels: int = 3  # 1 grey, 3 colour
    classes: int = 3  # 0: images without classes

    @abc.abstractmethod
    def build(self) -> Discriminator:
        """The network, with weights drawn from torch's global generator."""


class Discriminator(nn.Module, abc.ABC):
    """A network from images and class labels to logits."""

    spec: DiscriminatorSpec

    @abc.abstractmethod
    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (b, C, H, W) in [0, 1] and classes (b,) integers, None without classes -> logits (b,), positive for real."""


class ProjectionHead(nn.Module):
    """w . h + b + <e_y, h> of features h (b, D) and classes y (b,); all of it spectrally normalised. classes 0: w . h + b."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.linear = spectral_norm(nn.Linear(width, 1), eps=EPS)
        self.embedding = spectral_norm(nn.Embedding(classes, width), eps=EPS) if classes else None

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        logits = self.linear(features).squeeze(1)
        if self.embedding is None:
            return logits
        if labels is None:
            raise ValueError("labels: got None; this discriminator judges images of classes")
        return logits + (self.embedding(labels) * features).sum(1)


def start_normal(module: nn.Module) -> None:
    """Weights of convolutions and linear layers from N(0, 0.02), as DCGAN's (arXiv 1511.06434), before they are normalised."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if getattr(part, "bias", None) is not None:
                nn.init.zeros_(part.bias)


def check_halves(image_size: tuple[int, int], levels: int) -> None:
    """ValueError unless both sides can be halved `levels` times."""
    if levels < 1 or any(side < 2**levels or side % 2**levels for side in image_size):
        raise ValueError(f"image_size: got {image_size}; with {levels} levels both sides must be multiples of {2 ** max(1, levels)}")


def doubled(width: int, levels: int) -> list[int]:
    """Channels of `levels` levels: width, 2 width, 4 width, ..."""
    return [width * 2**level for level in range(levels)]

