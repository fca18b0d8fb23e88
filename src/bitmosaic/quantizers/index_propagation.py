"""Index backpropagation quantization (IBQ, arXiv 2412.02692): the gradient passes through the whole distribution over codewords.

We differ in nothing; similarity is the dot product, so a codeword in the midst of others is never chosen until training moves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import PAIRS, Codebook, CodebookSpec, check_pairs, one_hot_lookup
from bitmosaic.quantizers.entropy import assignment_entropies


@dataclass(frozen=True)
class IBQSpec(CodebookSpec):
    """K codewords of width d; p = softmax(z . e)."""

    scheme = "ibq"

    commitment: float = 0.25  # weight of mean (e - sg[z])^2 (published: beta); two more terms have weight 1
    entropy: float = 0.05  # weight of mean H(p) - H(mean p)
    temperature: float = 0.01  # of that p

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, entropy=self.entropy)
        if not self.temperature > 0:
            raise ValueError(f"temperature: got {self.temperature}; want a positive number")

    def build(self) -> IBQ:
        return IBQ(self)


class IBQ(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    exact = False

    def __init__(self, spec: IBQSpec):
        super().__init__(spec)
        self.codebook = nn.Parameter(torch.empty(spec.codewords, spec.width).uniform_(-1 / spec.codewords, 1 / spec.codewords))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        rows, codebook = z.flatten(0, -2).double(), self.codebook.double().T  # float64, so that ties do not depend on the batch
        found = [(part @ codebook).argmax(-1) for part in rows.split(max(1, PAIRS // self.spec.codewords))]
        return torch.cat(found).view(*z.shape[:-1], 1)

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """ValueError where places times codewords are too many: this scheme needs all pairs."""
        spec, digits, z = self.spec, self.encode(z), z.float()
        rows, index = z.flatten(0, -2), digits.flatten()
        check_pairs(len(rows), spec.codewords)
        logits = rows @ self.codebook.T
        quantized = one_hot_lookup(logits.softmax(-1), index, self.codebook).view_as(z)
        e = self.decode(digits)
        losses = {
            "quantized": (quantized - z).square().mean(),
            "commitment": (e.detach() - z).square().mean(),
            "codebook": spec.commitment * (e - z.detach()).square().mean(),
        }
        if spec.entropy:
            each, of_mean = assignment_entropies(logits / spec.temperature)
            losses["entropy"] = spec.entropy * (each - of_mean)
        return Quantized(quantized, digits, losses)
