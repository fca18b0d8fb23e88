"""Nearest codeword (VQ-VAE, arXiv 1711.00937, eq. 1-3; VQGAN, arXiv 2012.09841): a place is the index of the closest of K vectors.

We differ in comparing the few closest again in float64, so that a vector's index does not depend on its batch, and in computing distances
in chunks, so that a codebook of 262,144 codewords needs no matrix of all pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.memory import installed
from bitmosaic.quantizers.base import WIDTH, Quantized, Quantizer, QuantizerSpec, index_bits

PAIRS = 2**24  # distances in memory at once, 64 MiB
CLOSEST = 4  # codewords whose distances are computed again: rounding in float32 only confuses codewords that are nearly as close


@dataclass(frozen=True)
class NearestSpec(QuantizerSpec):
    """K codewords of width d, trained by gradient descent."""

    scheme = "nearest"

    codewords: int = 8  # K
    width: int = 4  # d
    commitment: float = 0.25  # weight of mean (sg[e] - z)^2, which pulls vectors to codewords; taming-transformers has 1 by default
    codebook: float = 1.0  # weight of mean (e - sg[z])^2, which pulls codewords to vectors; taming-transformers has 0.25 by default

    def __post_init__(self):
        check_codebook(self.codewords, self.width, self.commitment, self.codebook)

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    @classmethod
    def of_bits(cls, bits: int) -> NearestSpec:
        return cls(2 ** index_bits(bits), WIDTH)

    def build(self) -> Nearest:
        return Nearest(self)


class Nearest(Quantizer):
    """Vectors (..., d) <-> one index (..., 1) below K, with the straight-through gradient in training."""

    def __init__(self, spec: NearestSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.width, spec.radix
        self.codebook = nn.Parameter(torch.empty(spec.codewords, spec.width).uniform_(-1 / spec.codewords, 1 / spec.codewords))

    def encode(self, z: Tensor) -> Tensor:
        return nearest(z, self.codebook)[..., None]

    def decode(self, digits: Tensor) -> Tensor:
        return self.codebook[digits[..., 0].long()]

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return straight_through(z, self.codebook, self.spec.commitment, self.spec.codebook)


def check_codebook(codewords: int, width: int, *weights: float) -> None:
    """ValueError unless codewords >= 2, width >= 1, all fit into memory, and the losses' weights are finite and not negative."""
    if codewords < 2 or width < 1:
        raise ValueError(f"codewords {codewords}, width {width}: a codebook needs at least two vectors of width at least 1")
    if 4 * codewords * width > installed():
        size = 4 * codewords * width / 2**30
        raise ValueError(f"codewords {codewords:,} of width {width} take {size:,.0f} GiB, more than this machine has; give fewer")
    if not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(f"commitment, codebook: got {', '.join(map(str, weights))}; want finite weights, not negative")


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
