"""What tokenizers share that quantize one vector a place by any quantizer: VQ-VAE (arXiv 1711.00937) and what came after it."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.nets.precision import whole_float32
from bitmosaic.quantizers.base import Quantized, Quantizer
from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec


class LevelsSpec(TokenizerSpec, abstract=True):
    """Base class of descriptions of image tokenizers whose levels, one for each of `multipliers`, halve the sides."""

    @property
    def factor(self) -> int:
        """Pixels along one side of a place."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Places of an image of `image_size`."""
        return self.image_size[0] // self.factor, self.image_size[1] // self.factor

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        return self.quantizer.radix


class VectorTokenizer(Tokenizer):
    """Signals -> one vector a place -> digits of `quantizer` -> signals; the decoder has no last activation, `decode` clamps."""

    quantizer: Quantizer
    decoder: nn.Sequential

    @property
    def last_weight(self) -> Tensor:
        """The weight at which the adaptive adversarial weight compares gradients."""
        return self.decoder[-1].weight

    @abc.abstractmethod
    def vectors(self, signals: Tensor) -> Tensor:
        """(b, c, *size) -> what is quantized, (b, *grid, d)."""

    @abc.abstractmethod
    def signals(self, z: Tensor) -> Tensor:
        """Quantized vectors (b, *grid, d) -> (b, c, *size), not clamped."""

    def forward(self, signals: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Quantized]:
        """Reconstruction (not clamped) and the quantized vectors; `rng` draws where the quantizer is random in training."""
        quantized = self.quantizer(self.vectors(signals), rng)
        return self.signals(quantized.z), quantized

    @whole_float32()
    def encode(self, signals: Tensor) -> Codes:
        self.check_signals(signals)
        return Codes(self.quantizer.encode(self.vectors(signals)), self.radix)

    @whole_float32()
    def decode(self, codes: Codes) -> Tensor:
        self.check_codes(codes)
        z = self.quantizer.decode(codes.digits).to(self.last_weight.dtype)
        return self.signals(z).clamp(self.medium.low, self.medium.high)
