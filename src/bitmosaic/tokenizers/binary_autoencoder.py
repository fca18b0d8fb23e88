"""B-AE, the binary autoencoder of BiGR (arXiv 2410.14672, section 3.1; Binary Latent Diffusion, arXiv 2304.04820).

We differ in allowing any sides divisible by the factor, in keeping the sums over bit embeddings as a 1x1 convolution, and in folding
patches of pixels into channels where `patch` says so: full resolution is where most of the time goes (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from bitmosaic.codes import MOST_BITS, Codes
from bitmosaic.nets import conv
from bitmosaic.nets.precision import whole_float32
from bitmosaic.quantizers.base import Quantized
from bitmosaic.quantizers.bernoulli import BernoulliQuantizerSpec
from bitmosaic.spec import later
from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec


@dataclass(frozen=True)
class BinaryAutoencoderSpec(TokenizerSpec):
    """Sizes of a B-AE; the factor is patch 2^(levels - 1)."""

    image_size: tuple[int, int] = (16, 16)  # height, width in pixels
    channels: int = 3  # of the image
    bits: int = 8  # K, bits at each place
    width: int = 32  # nf, channels at the first level
    multipliers: tuple[int, ...] = (1, 2)  # ch_mult, width of each level over nf
    residual_blocks: int = 1  # at each level
    attention_sizes: tuple[int, ...] = (8,)  # attend at levels whose shorter side has this length
    embedding: int = 32  # emb_dim, channels at the codes
    norm_first: bool = True  # GroupNorm on the decoder's input
    groups: int = 32  # of GroupNorm; with one channel a group an image's brightness hardly passes, so narrow nets want fewer
    patch: int = later(1, lambda _: 1)  # side in pixels of what is folded into channels before the first layer, and out after the last
    gain: float = later(1.0, lambda _: 1.0)  # of the logits' first weights: with more, bits say something from the first step on

    def __post_init__(self):
        sizes = (*self.image_size, self.channels, self.bits, self.width, *self.multipliers, self.embedding, self.groups, self.patch)
        if min(sizes) < 1 or not self.multipliers or self.residual_blocks < 0:
            raise ValueError("image_size, channels, bits, width, multipliers, embedding, groups and patch must be positive")
        if not 0 < self.gain < math.inf:
            raise ValueError(f"gain: got {self.gain}; want a finite number above 0")
        if self.bits > MOST_BITS:
            raise ValueError(f"bits: got {self.bits}; want at most {MOST_BITS} a place")
        if self.width % self.groups or (self.norm_first and self.embedding % self.groups):
            normed = f"width {self.width}" + f" and embedding {self.embedding}" * self.norm_first
            raise ValueError(f"{normed} must be multiples of {self.groups} groups")
        if any(side % self.factor for side in self.image_size):
            of_patches = f" of patches of {self.patch}" if self.patch > 1 else ""
            levels = f"{len(self.multipliers)} levels{of_patches}"
            raise ValueError(f"image_size {self.image_size} is not divisible by {self.factor}, as {levels} need")

    @property
    def factor(self) -> int:
        """Pixels along one side of a place."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Places of an image of `image_size`."""
        return self.image_size[0] // self.factor, self.image_size[1] // self.factor

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        return (2,) * self.bits

    @property
    def attention(self) -> tuple[bool, ...]:
        """Which levels attend."""
        side = min(self.image_size) // self.patch
        return tuple(side // 2**level in self.attention_sizes for level in range(len(self.multipliers)))

    def build(self) -> BinaryAutoencoder:
        return BinaryAutoencoder(self)


class BinaryAutoencoder(Tokenizer):
    """Images in [0, 1] -> K logits a place -> bits -> images; the decoder has no last activation, `decode` clamps."""

    decoding = ("from_bits", "decoder")

    def __init__(self, spec: BinaryAutoencoderSpec):
        super().__init__()
        self.spec, self.channels, self.factor, self.image_size = spec, spec.channels, spec.factor, spec.image_size
        folded = spec.channels * spec.patch**2
        shape = (folded, spec.width, spec.multipliers, spec.residual_blocks, spec.attention, spec.embedding, spec.groups)
        self.encoder = conv.encoder(*shape)
        self.to_bits = nn.Conv2d(spec.embedding, spec.bits, 1)
        with torch.no_grad():
            self.to_bits.weight.mul_(spec.gain)
        self.quantizer = BernoulliQuantizerSpec(spec.bits).build()
        self.from_bits = nn.Conv2d(spec.bits, spec.embedding, 1, bias=False)  # z = sum_k b_k E_k
        self.decoder = conv.decoder(*shape, norm_first=spec.norm_first)
        self.radix = self.quantizer.radix

    @property
    def last_weight(self) -> Tensor:
        """The weight at which the adaptive adversarial weight compares gradients."""
        return self.decoder[-1].weight

    def logits(self, images: Tensor) -> Tensor:
        """(b, c, H, W) in [0, 1] -> (b, h, w, K); a bit is one with probability sigmoid(logit)."""
        return self.to_bits(self.encoder(pixel_unshuffle(images, self.spec.patch))).movedim(1, -1)

    def pixels(self, z: Tensor) -> Tensor:
        """Bits as floats (b, h, w, K) -> (b, c, H, W), not clamped."""
        return pixel_shuffle(self.decoder(self.from_bits(z.movedim(-1, 1))), self.spec.patch)

    def forward(self, images: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Quantized]:
        """Reconstruction (not clamped) and the quantized bits; with `rng` the bits are drawn, as in training."""
        quantized = self.quantizer(self.logits(images), rng)
        return self.pixels(quantized.z), quantized

    @whole_float32()
    def encode(self, images: Tensor, rng: torch.Generator | None = None) -> Codes:
        """The most probable bits, or with `rng` a draw of them (as the prior is trained on)."""
        self.check_signals(images)
        return Codes(self.quantizer(self.logits(images), rng).digits, self.radix)

    @whole_float32()
    def draws(self, images: Tensor, generators: Sequence[torch.Generator]) -> list[Codes]:
        """Codes as a prior is trained on: bits drawn from their Bernoulli by each generator."""
        logits = self.logits(images)
        return [Codes(self.quantizer(logits, rng).digits, self.radix) for rng in generators]

    @whole_float32()
    def decode(self, codes: Codes) -> Tensor:
        self.check_codes(codes)
        return self.pixels(codes.digits.to(self.from_bits.weight.dtype)).clamp(0, 1)
