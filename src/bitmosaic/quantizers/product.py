"""Several quantizers for one place: side by side (product quantization, Jegou et al., 2011; FQGAN, arXiv 2411.16681), or one after another
on what is left (residual, RQ-VAE, arXiv 2203.01941; with SoundStream's quantizer dropout, 2107.03312).

We differ in taking any schemes inside, also mixed ones, and these ones again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec, check_weights
from bitmosaic.quantizers.cosine import CosineSpec
from bitmosaic.quantizers.nearest import NearestSpec


@dataclass(frozen=True)
class _PartsSpec(QuantizerSpec, abstract=True):
    parts: tuple[QuantizerSpec, ...] = (NearestSpec(), NearestSpec())

    def __post_init__(self):
        if not self.parts:
            raise ValueError("parts: got none; give at least one quantizer")

    @property
    def radix(self) -> tuple[int, ...]:
        return sum((part.radix for part in self.parts), ())


@dataclass(frozen=True)
class ProductSpec(_PartsSpec):
    """A vector is cut into parts, each with a quantizer of its own; digits follow one another."""

    scheme = "product"

    @classmethod
    def of_bits(cls, bits: int) -> ProductSpec:
        return cls(tuple(NearestSpec(2**share, NearestSpec.recipe_width // 2) for share in shares(bits)))

    def build(self) -> Product:
        return Product(self)


@dataclass(frozen=True)
class FactorizedSpec(_PartsSpec):
    """FQGAN's product: codebooks of unit vectors that a loss keeps from saying the same."""

    scheme = "factorized"

    parts: tuple[QuantizerSpec, ...] = (CosineSpec(entropy=0.03), CosineSpec(entropy=0.03))
    disentanglement: float = 0.1  # weight of the mean over pairs and places of the squared cosine of codewords

    def __post_init__(self):
        super().__post_init__()
        check_weights(disentanglement=self.disentanglement)
        if len(self.parts) < 2:
            raise ValueError("parts: got one; a factorized codebook has at least two")
        with torch.device("meta"):  # draws no weights
            widths = {part.build().width for part in self.parts}
        if len(widths) > 1:
            raise ValueError(f"parts: of widths {sorted(widths)}; their codewords are compared, so give one width")

    @classmethod
    def of_bits(cls, bits: int) -> FactorizedSpec:
        return cls(tuple(CosineSpec(2**share, CosineSpec.recipe_width, entropy=0.03) for share in shares(bits, 2)))

    def build(self) -> Factorized:
        return Factorized(self)


@dataclass(frozen=True)
class ResidualSpec(QuantizerSpec):
    """`depth` quantizers of one kind: each codes what the ones before it have left."""

    scheme = "residual"

    inner: QuantizerSpec = NearestSpec()
    depth: int = 2
    dropout: float = 0.0  # probability, in training, that an image keeps only its first digits, evenly many of 1..depth

    def __post_init__(self):
        if self.depth < 1 or not 0 <= self.dropout <= 1:
            raise ValueError(f"depth {self.depth}, dropout {self.dropout}: want at least one quantizer, and a probability")

    @property
    def radix(self) -> tuple[int, ...]:
        return self.inner.radix * self.depth

    @classmethod
    def of_bits(cls, bits: int) -> ResidualSpec:
        return cls(NearestSpec(2 ** max(shares(bits)), NearestSpec.recipe_width), len(shares(bits)))

    def build(self) -> Residual:
        return Residual(self)


class Product(Quantizer):
    """Vectors (..., sum of widths) <-> digits (..., sum of digits)."""

    def __init__(self, spec: ProductSpec | FactorizedSpec):
        super().__init__()
        self.spec, self.radix = spec, spec.radix
        self.parts = nn.ModuleList(part.build() for part in spec.parts)
        self.widths, self.counts = [part.width for part in self.parts], [len(part.radix) for part in self.parts]
        self.width, self.exact = sum(self.widths), all(part.exact for part in self.parts)

    def encode(self, z: Tensor) -> Tensor:
        return torch.cat([part.encode(x) for part, x in self._each(z)], -1)

    def decode(self, digits: Tensor) -> Tensor:
        return torch.cat([part.decode(d) for part, d in zip(self.parts, digits.split(self.counts, -1), strict=True)], -1)

    def preimage(self, digits: Tensor) -> Tensor:
        return torch.cat([part.preimage(d) for part, d in zip(self.parts, digits.split(self.counts, -1), strict=True)], -1)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        found = [part(x, rng) for part, x in self._each(z)]
        return Quantized(torch.cat([one.z for one in found], -1), torch.cat([one.digits for one in found], -1), summed(found))

    def _each(self, z: Tensor) -> Iterable[tuple[Quantizer, Tensor]]:
        return zip(self.parts, z.split(self.widths, -1), strict=True)


class Factorized(Product):
    """Product of unit codewords; its loss adds `disentanglement` (FQGAN, eq. 3)."""

    spec: FactorizedSpec

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        found = super().forward(z, rng)
        if self.spec.disentanglement:
            parts = [F.normalize(part, dim=-1) for part in found.z.float().split(self.widths, -1)]
            found.losses["disentanglement"] = self.spec.disentanglement * overlap(parts)
        return found


class Residual(Quantizer):
    """Vectors (..., d) <-> digits (..., depth k), coarse first."""

    exact = False  # what is left of a sum of codewords may be nearer to others

    def __init__(self, spec: ResidualSpec):
        super().__init__()
        self.spec, self.radix = spec, spec.radix
        self.levels = nn.ModuleList(spec.inner.build() for _ in range(spec.depth))
        self.width, self.count = self.levels[0].width, len(spec.inner.radix)

    def encode(self, z: Tensor) -> Tensor:
        return self.encode_from(z, 0)

    def encode_from(self, z: Tensor, level: int) -> Tensor:
        """Digits (..., (depth - level) k) of levels `level` on, of what is left (..., d) before them."""
        digits, left = [], z
        for one in self.levels[level:]:
            digits.append(one.encode(left))
            left = left - one.decode(digits[-1]).to(left.dtype)
        return torch.cat(digits, -1)

    def decode(self, digits: Tensor) -> Tensor:
        return sum(one.decode(d) for one, d in zip(self.levels, digits.split(self.count, -1), strict=True))

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """Dropped levels add nothing to the vectors; their digits and losses are there all the same."""
        left, found, kept, total = z, [], self._kept(z, rng), 0.0
        for level, one in enumerate(self.levels):
            found.append(one(left, rng))
            total = total + (kept > level) * found[-1].z
            left = left - one.decode(found[-1].digits).detach().to(left.dtype)
        mean = total / kept  # whose gradient at the input is that of one level, whatever the scheme inside
        quantized = total.detach() + mean - mean.detach()
        losses = {name: loss / len(found) for name, loss in summed(found).items()}
        return Quantized(quantized, torch.cat([one.digits for one in found], -1), losses)

    def _kept(self, z: Tensor, rng: torch.Generator | None) -> Tensor:
        """How many levels each image keeps, (b, 1, ..., 1)."""
        shape = (len(z), *[1] * (z.ndim - 1))
        whole = torch.full(shape, self.spec.depth, device=z.device)
        if rng is None or not self.training or not self.spec.dropout:
            return whole
        few = torch.randint(1, self.spec.depth + 1, shape, generator=rng, device=rng.device)
        return torch.where(torch.rand(shape, generator=rng, device=rng.device) < self.spec.dropout, few, whole)


def overlap(parts: list[Tensor]) -> Tensor:
    """Mean over pairs and places of the squared inner product of unit vectors, each (..., d)."""
    pairs = [(a * b).sum(-1).square().mean() for i, a in enumerate(parts) for b in parts[i + 1 :]]
    return sum(pairs) / len(pairs)


def summed(found: list[Quantized]) -> dict[str, Tensor]:
    """Losses of several quantizers, by name."""
    names = {name for one in found for name in one.losses}
    return {name: sum(one.losses[name] for one in found if name in one.losses) for name in sorted(names)}


def shares(bits: int, least: int = 1) -> list[int]:
    """`bits` shared out evenly over codebooks of at most 8 bits, `least` of them at least."""
    count = max(least, -(-bits // 8))
    return [max(1, bits // count + (i < bits % count)) for i in range(count)]
