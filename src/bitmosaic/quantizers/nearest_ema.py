"""Nearest codeword with codewords that are running means of their vectors (VQ-VAE, arXiv 1711.00937, appendix A.1).

We differ in counts that begin at one vector each, so that codewords which are not hit stay where they are (VQGAN-LC's program begins at
zero, and such codewords explode), and in moving dead codewords to vectors of the batch (Jukebox, 2005.00341), which are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, nearest

EPS = 1e-5  # of the smoothed counts


@dataclass(frozen=True)
class NearestEMASpec(CodebookSpec):
    """K codewords of width d, moved by running means."""

    scheme = "ema"

    commitment: float = 0.25  # weight of mean (sg[e] - z)^2
    decay: float = 0.99  # of counts and sums
    dead: float = 0.1  # a codeword whose running count falls below this is moved to a vector of the batch; 0: never

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, dead=self.dead)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay: got {self.decay}; want a number in [0, 1)")

    def build(self) -> NearestEMA:
        return NearestEMA(self)


class NearestEMA(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K. In training, where it is given a generator, a forward pass moves the codewords.

    rows: its buffers of a row a codeword. Where the parts of a batch restart a codeword differently, the first of them decides.
    """

    rows = ("codebook", "sums", "counts")

    def __init__(self, spec: NearestEMASpec):
        super().__init__(spec)
        self.register_buffer("codebook", torch.randn(spec.codewords, spec.width))
        self.register_buffer("counts", torch.ones(spec.codewords))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("restarts", torch.zeros((), dtype=torch.long))  # codewords moved so far
        self.moved: Tensor | None = None  # whether the last forward pass has moved each codeword, (K,)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        index = nearest(z, self.codebook)
        e = self.codebook[index]
        losses = {"commitment": self.spec.commitment * (e - z).square().mean()}
        quantized = Quantized(z + (e - z).detach(), index[..., None], losses)
        if rng is not None and self.training:
            rows = z.detach().float().flatten(0, -2)
            self.update(rows, index.flatten())
            self.restart(rows, rng)
        return quantized

    @torch.no_grad()
    def update(self, rows: Tensor, index: Tensor) -> None:
        """Counts, sums and codewords after vectors rows (n, d) were assigned to codewords index (n,)."""
        kept, k = self.spec.decay, self.spec.codewords
        counted = torch.bincount(index, minlength=k).to(rows.dtype)
        summed = torch.zeros_like(self.sums).index_add_(0, index, rows)
        self.counts.mul_(kept).add_(counted, alpha=1 - kept)
        self.sums.mul_(kept).add_(summed, alpha=1 - kept)
        total = self.counts.sum()
        smoothed = (self.counts + EPS) / (total + k * EPS) * total
        self.codebook.copy_(self.sums / smoothed[:, None])

    @torch.no_grad()
    def restart(self, rows: Tensor, rng: torch.Generator) -> None:
        """Moves dead codewords to vectors drawn from `rows` (n, d)."""
        self.moved = self.counts < self.spec.dead
        dead = self.moved.nonzero()[:, 0]
        if len(dead):
            drawn = rows[torch.randint(len(rows), (len(dead),), generator=rng, device=rng.device)]
            self.codebook[dead], self.sums[dead], self.counts[dead] = drawn, drawn, 1.0
            self.restarts += len(dead)
