"""The base class of generators: noise comes from one random generator an image, so that an image depends on its seed, not on its batch."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.conditions import ClassConditionSpec, ConditionSpec
from bitmosaic.spec import Spec

AT_ONCE = 16  # images of a pass, always as many: the order of summation in a matrix product depends on the number of rows


@dataclass(frozen=True)
class GeneratorSpec(Spec, abc.ABC, abstract=True):
    """Sizes of what a generator makes, and of its noise and condition."""

    image_size: tuple[int, int] = (16, 16)  # height, width
    channels: int = 3  # 1 grey, 3 colour
    latent: int = 8  # numbers of noise for an image
    condition: ConditionSpec = ClassConditionSpec()

    @abc.abstractmethod
    def build(self) -> Generator:
        """The network, with weights drawn from torch's global generator."""


class Generator(nn.Module, abc.ABC):
    """A network from noise and class labels to images."""

    spec: GeneratorSpec
    classes: int  # 0 without

    @abc.abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (b, C, H, W) in [0, 1] from z (b, Z), standard normal in training, and labels, (b,) integers or weights (b, classes);
        None without classes."""

    def noise(self, rngs: Sequence[torch.Generator]) -> Tensor:
        """z (n, Z) float32 on the weights' device; row i is drawn from the i-th random generator."""
        device = next(self.parameters()).device
        return torch.stack([torch.randn(self.spec.latent, generator=rng, device=device) for rng in rngs])

    @torch.no_grad()
    def sample(self, rngs: Sequence[torch.Generator], labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Images (n, C, H, W) in [0, 1], one a random generator, from `truncation` times z: 0 is no noise, 1 as in training.

        labels: as in `forward`; None where there are classes: an image's class is drawn from its random generator, after the noise.
        ValueError for a truncation outside [0, 1].
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
