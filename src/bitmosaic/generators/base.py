"""What all generators have in common: one random generator an image, so that an image is its seed's, whatever its batch."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.conditions import ClassConditionSpec, ConditionSpec
from bitmosaic.spec import Spec

AT_ONCE = 16  # images of a pass, always as many: a product of few rows sums in another order than one of many


@dataclass(frozen=True)
class GeneratorSpec(Spec, abc.ABC, abstract=True):
    """What a generator makes, and from what."""

    image_size: tuple[int, int] = (16, 16)  # height, width
    channels: int = 3  # 1 grey, 3 colour
    latent: int = 8  # numbers of noise for an image
    condition: ConditionSpec = ClassConditionSpec()

    @abc.abstractmethod
    def build(self) -> Generator:
        """The network, with weights drawn from torch's global generator."""


class Generator(nn.Module, abc.ABC):
    """Noise and labels -> images."""

    spec: GeneratorSpec
    classes: int  # 0 without

    @abc.abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z (b, Z), which is standard normal in training, and labels, (b,) integers or weights (b, classes), None without classes ->
        images (b, C, H, W) in [0, 1]."""

    def noise(self, rngs: Sequence[torch.Generator]) -> Tensor:
        """z (n, Z) float32: row i is drawn from the i-th random generator, where the weights are."""
        device = next(self.parameters()).device
        return torch.stack([torch.randn(self.spec.latent, generator=rng, device=device) for rng in rngs])

    @torch.no_grad()
    def sample(self, rngs: Sequence[torch.Generator], labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Images (n, C, H, W) in [0, 1], one for each random generator, of `truncation` z: at 0 all noise is the same, at 1 as in training.

        labels: as in `forward`; None where there are classes: each image's is drawn by its own generator, behind its noise.
        """
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation: got {truncation}; want a number in [0, 1]")
        z = truncation * self.noise(rngs)
        if labels is None and self.classes:
            labels = torch.cat([torch.randint(self.classes, (1,), generator=rng, device=z.device) for rng in rngs])
        z = z.to(next(self.parameters()).dtype)
        images = []
        for start in range(0, len(z), AT_ONCE):
            own = range(start, min(start + AT_ONCE, len(z)))
            some = (list(own) * AT_ONCE)[:AT_ONCE]
            images.append(self(z[some], None if labels is None else labels[some])[: len(own)])
        return torch.cat(images) if images else z.new_zeros(0, self.spec.channels, *self.spec.image_size)
