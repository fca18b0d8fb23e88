"""What quantizers share whose places hold one index: K codewords, of which a vector has the nearest (VQ-VAE, arXiv 1711.00937, eq. 1-3).

We differ in comparing the few closest again in float64, so that a vector's index does not depend on its batch, and in computing distances
in chunks, so that a codebook of 262,144 codewords needs no matrix of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from bitmosaic.memory import installed
from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec, schemes

PAIRS = 2**24  # distances in memory at once, 64 MiB
CLOSEST = 4  # codewords whose distances are computed again: rounding in float32 only confuses codewords that are nearly as close
MOST_BITS = 10  # of a recipe's index: a codebook of more than 1,024 codewords wants more images than a laptop trains on


@dataclass(frozen=True)
class CodebookSpec(QuantizerSpec, abstract=True):
    """Base class of descriptions of quantizers with one codebook. recipe_width: numbers of a codeword where a recipe chooses them."""

    recipe_width: ClassVar[int] = 16

    codewords: int = 8  # K
    width: int = 4  # d

    def __post_init__(self):
        if self.codewords < 2 or self.width < 1:
            raise ValueError(f"codewords {self.codewords}, width {self.width}: a codebook needs at least two vectors of width at least 1")
        check_fits(self.codewords, self.width)

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    @classmethod
    def of_bits(cls, bits: int) -> Self:
        return cls.of_codewords(2 ** max(1, min(bits, MOST_BITS)))

    @classmethod
    def of_codewords(cls, codewords: int) -> Self:
        """One of so many codewords, with the width that a recipe gives it."""
        return cls(codewords, cls.recipe_width)


def codebooks() -> dict[str, type[CodebookSpec]]:
    """Schemes of one index a place, by name."""
    return {name: kind for name, kind in schemes().items() if issubclass(kind, CodebookSpec)}


class Codebook(Quantizer):
    """Vectors (..., d) <-> one index (..., 1) below K, that of the nearest row of `codebook` (K, d)."""

    codebook: Tensor

    def __init__(self, spec: CodebookSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.width, spec.radix

    def encode(self, z: Tensor) -> Tensor:
        return nearest(z, self.codebook)[..., None]

    def decode(self, digits: Tensor) -> Tensor:
        return self.codebook[digits[..., 0].long()]


def check_fits(codewords: int, width: int) -> None:
    """ValueError where so many vectors are larger than this machine's memory."""
    if 4 * codewords * width > installed():
        size = 4 * codewords * width / 2**30
        raise ValueError(f"codewords {codewords:,} of width {width} take {size:,.0f} GiB, more than this machine has; give fewer")


def check_pairs(places: int, codewords: int) -> None:
    """ValueError where the distances of all pairs of places and codewords would take more than 1 GiB."""
    if places * codewords > 16 * PAIRS:
        raise ValueError(
            f"codewords: {places:,} places of a batch times {codewords:,} codewords are distances of {places * codewords / 2**28:.1f} GiB; "
            "take smaller batches or more parts, or fewer codewords"
        )


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Indices (...) int64 of the rows of `codebook` (K, d) closest to vectors `z` (..., d); ties go to the smallest index."""
    rows, codewords = z.reshape(-1, z.shape[-1]).float(), codebook.float()
    squares = codewords.square().sum(1)
    found = [_closest(part, codewords, squares) for part in rows.split(max(1, PAIRS // len(codewords)))]
    return torch.cat(found).view(z.shape[:-1]) if found else torch.zeros(z.shape[:-1], dtype=torch.int64, device=z.device)


def _closest(rows: Tensor, codewords: Tensor, squares: Tensor) -> Tensor:
    scores = torch.addmm(squares, rows, codewords.T, alpha=-2)  # |z - e|^2 - |z|^2     (n, K)
    few = scores.topk(min(CLOSEST, len(codewords)), dim=1, largest=False).indices.sort(dim=1).values
    distances = (rows.double()[:, None] - codewords.double()[few]).square().sum(-1)  # (n, few)
    return few.gather(1, distances.argmin(1, keepdim=True))[:, 0]


def straight_through(z: Tensor, codebook: Tensor, commitment: float, pull: float) -> Quantized:
    """The closest rows e of `codebook` (K, d) to `z` (..., d) as z + sg[e - z], with their losses, means over all elements."""
    index = nearest(z, codebook)
    e = codebook[index]
    losses = {"commitment": commitment * (e.detach() - z).square().mean(), "codebook": pull * (e - z.detach()).square().mean()}
    return Quantized(z + (e - z).detach(), index[..., None], losses)


def one_hot_lookup(p: Tensor, index: Tensor, codebook: Tensor) -> Tensor:
    """Rows of `codebook` (K, d) by `index` (...) in value, while the gradient takes distributions p (..., K) for the one-hot vectors."""
    hard = F.one_hot(index, len(codebook)).to(p.dtype)
    return (hard + p - p.detach()) @ codebook
