"""What every tokenizer is: images <-> Codes."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.folders import load_part
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class TokenizerSpec(Spec, abstract=True):
    """What all tokenizers' specs have in common; each has fields `image_size`, (height, width) in pixels, and `channels` of the image."""

    @property
    def grid(self) -> tuple[int, int]:
        """Places of an image of `image_size`."""
        raise NotImplementedError

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        raise NotImplementedError

    def build(self) -> Tokenizer:
        raise NotImplementedError


class Tokenizer(nn.Module, abc.ABC):
    """Images (batch, channels, height, width) in [0, 1] <-> Codes. Sides must be divisible by `factor`."""

    spec: TokenizerSpec
    channels: int
    factor: int
    radix: tuple[int, ...]
    image_size: tuple[int, int]  # height, width it was trained for

    @staticmethod
    def from_pretrained(folder: str | Path) -> Tokenizer:
        """The tokenizer in a folder of its own, such as `convert_part` writes, or PIPELINE/tokenizer. ValueError as from `load_part`."""
        return load_part(Path(folder).expanduser(), Tokenizer)

    @abc.abstractmethod
    def encode(self, images: Tensor) -> Codes:
        """(b, channels, H, W) in [0, 1] -> Codes on a grid of (H / factor, W / factor)."""

    def draws(self, images: Tensor, generators: Sequence[torch.Generator]) -> list[Codes]:
        """Codes as a prior is trained on, one of all images for each generator: here always those of `encode`."""
        return [self.encode(images)] * len(generators)

    @abc.abstractmethod
    def decode(self, codes: Codes) -> Tensor:
        """Codes -> (b, channels, H, W), clamped to [0, 1]."""

    def check_images(self, images: Tensor) -> None:
        """ValueError where `images` do not fit this tokenizer."""
        if images.ndim != 4 or images.shape[1] != self.channels or not images.is_floating_point():
            raise ValueError(
                f"images: got {images.dtype} {tuple(images.shape)}; want floats in [0, 1], (batch, {self.channels}, height, width)"
            )
        if images.shape[2] % self.factor or images.shape[3] % self.factor or not images.shape[2] or not images.shape[3]:
            raise ValueError(f"images: sides {tuple(images.shape[2:])} are not divisible by the tokenizer's factor {self.factor}")

    def check_codes(self, codes: Codes) -> None:
        """ValueError where `codes` are another tokenizer's."""
        if codes.radix != self.radix or len(codes.grid) != 2:
            raise ValueError(f"codes: grid {codes.grid} with {len(codes.radix)} digits; want a 2-D grid with {len(self.radix)}")
