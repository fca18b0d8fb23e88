"""VQGAN's autoencoder (Esser et al., arXiv 2012.09841, section 3.1) and its relatives', around any quantizer of one vector a place.

We differ in images in [0, 1], mapped to the published [-1, 1] inside, and in any sides divisible by the factor.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bitmosaic.nets import conv
from bitmosaic.quantizers.base import QuantizerSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.spec import later
from bitmosaic.tokenizers.vectors import LevelsSpec, VectorTokenizer


@dataclass(frozen=True)
class VQGANSpec(LevelsSpec):
    """Sizes of a VQGAN; the factor is 2^(levels - 1)."""

    image_size: tuple[int, int] = (16, 16)  # height, width in pixels
    channels: int = 3  # of the image
    quantizer: QuantizerSpec = NearestSpec()
    width: int = 32  # channels at full resolution
    multipliers: tuple[int, ...] = (1, 2)  # width of each level over `width`
    residual_blocks: int = 1  # at each level of the encoder; the decoder has one more in the family "taming"
    attention_sizes: tuple[int, ...] = (8,)  # attend at levels whose shorter side has this length
    embedding: int | None = 32  # z_channels, between the networks and 1x1 convolutions around the quantizer; None: there are no such ones
    groups: int = 32  # of GroupNorm
    family: conv.FamilyName = later("taming", lambda _: "taming")  # whose encoder and decoder, a name in `nets.conv.FAMILIES`

    def __post_init__(self):
        ends = 1 if self.embedding is None else self.embedding
        sizes = (*self.image_size, self.channels, self.width, *self.multipliers, ends, self.groups)
        if min(sizes) < 1 or not self.multipliers or self.residual_blocks < 0:
            raise ValueError("image_size, channels, width, multipliers, embedding and groups must be positive")
        if self.width % self.groups:
            raise ValueError(f"width {self.width} must be a multiple of {self.groups} groups")
        if self.family not in conv.FAMILIES:
            raise ValueError(f"family: got {self.family!r}; give one of {', '.join(conv.FAMILIES)}")
        if any(side % self.factor for side in self.image_size):
            raise ValueError(f"image_size {self.image_size} is not divisible by {self.factor}, as {len(self.multipliers)} levels need")

    @property
    def attention(self) -> tuple[bool, ...]:
        """Which levels attend."""
        return tuple(min(self.image_size) // 2**level in self.attention_sizes for level in range(len(self.multipliers)))

    def build(self) -> VQGAN:
        return VQGAN(self)


class VQGAN(VectorTokenizer):
    """Images in [0, 1] -> one vector a place -> digits of the quantizer -> images; the decoder has no last activation, `decode` clamps."""

    decoding = ("from_codes", "decoder")

    def __init__(self, spec: VQGANSpec):
        super().__init__()
        self.spec, self.channels, self.factor, self.image_size = spec, spec.channels, spec.factor, spec.image_size
        sizes, family, blocks = (spec.channels, spec.width, spec.multipliers), conv.FAMILIES[spec.family], spec.residual_blocks
        self.quantizer = spec.quantizer.build()
        width, ends = self.quantizer.width, spec.embedding or self.quantizer.width
        self.encoder = conv.encoder(*sizes, blocks, spec.attention, ends, spec.groups, True, family)
        self.to_codes = nn.Identity() if spec.embedding is None else nn.Conv2d(ends, width, 1)  # quant_conv
        self.from_codes = nn.Identity() if spec.embedding is None else nn.Conv2d(width, ends, 1)  # post_quant_conv
        self.decoder = conv.decoder(*sizes, blocks + family.more, spec.attention, ends, spec.groups, False, True, family)
        self.radix = self.quantizer.radix

    def vectors(self, images: Tensor) -> Tensor:
        """(b, c, H, W) in [0, 1] -> what is quantized, (b, h, w, d)."""
        return self.to_codes(self.encoder(2 * images - 1)).movedim(1, -1)

    def signals(self, z: Tensor) -> Tensor:
        """Quantized vectors (b, h, w, d) -> (b, c, H, W), not clamped."""
        return (self.decoder(self.from_codes(z.movedim(-1, 1))) + 1) / 2
