"""Index backpropagation quantization (IBQ, arXiv 2412.02692): the gradient passes through the whole distribution over codewords.

We differ in nothing; similarity is the dot product, so a codeword in the midst of others is never chosen until training moves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import WIDTH, Quantized, Quantizer, QuantizerSpec, check_weights, index_bits
from bitmosaic.quantizers.cosine import check_pairs
from bitmosaic.quantizers.entropy import assignment_entropies
from bitmosaic.quantizers.nearest import PAIRS, check_codebook


@dataclass(frozen=True)
class IBQSpec(QuantizerSpec):
    """K codewords of width d; p = softmax(z . e)."""

    scheme = "ibq"

    codewords: int = 8  # K
    width: int = 4  # d
    commitment: float = 0.25  # weight of mean (e - sg[z])^2 (published: beta); two more terms have weight 1
    entropy: float = 0.05  # weight of mean H(p) - H(mean p)
    temperature: float = 0.01  # of that p

    def __post_init__(self):
        check_codebook(self.codewords, self.width, self.commitment)
        check_weights(entropy=self.entropy)
        if not self.temperature > 0:
            raise ValueError(f"temperature: got {self.temperature}; want a positive number")

    @property
    def radix(self) -> tuple[int, ...]:
        return (self.codewords,)

    @classmethod
    def of_bits(cls, bits: int) -> IBQSpec:
        return cls(2 ** index_bits(bits), WIDTH)

    def build(self) -> IBQ:
        return IBQ(self)


class IBQ(Quantizer):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    exact = False

    def __init__(self, spec: IBQSpec):
        super().__init__()
        self.spec, self.width, self.radix = spec, spec.width, spec.radix
        self.codebook = nn.Parameter(torch.empty(spec.codewords, spec.width).uniform_(-1 / spec.codewords, 1 / spec.codewords))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        rows, codebook = z.flatten(0, -2).double(), self.codebook.double().T  # float64, so that ties do not depend on the batch
        found = [(part @ codebook).argmax(-1) for part in rows.split(max(1, PAIRS // self.spec.codewords))]
        return torch.cat(found).view(*z.shape[:-1], 1)

    def decode(self, digits: Tensor) -> Tensor:
        return self.codebook[digits[..., 0].long()]

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        """ValueError where places times codewords are too many: this scheme needs all pairs."""
        spec, digits, z = self.spec, self.encode(z), z.float()
        rows, index = z.flatten(0, -2), digits.flatten()
        check_pairs(len(rows), spec.codewords)
        logits = rows @ self.codebook.T
        p = logits.softmax(-1)
        chosen = self.codebook[index]
        quantized = p @ self.codebook + (chosen - p @ self.codebook).detach()  # one-hot in value, p in the gradient of the assignment
        quantized = quantized + self._pull(p, index)
        e = chosen.view_as(z)
        losses = {
            "quantized": (quantized.view_as(z) - z).square().mean(),
            "commitment": (e.detach() - z).square().mean(),
            "codebook": spec.commitment * (e - z.detach()).square().mean(),
        }
        if spec.entropy:
            each, of_mean = assignment_entropies(logits / spec.temperature)
            losses["entropy"] = spec.entropy * (each - of_mean)
        return Quantized(quantized.view_as(z), digits, losses)

    def _pull(self, p: Tensor, index: Tensor) -> Tensor:
        """Zeros whose gradient at the codebook is that of the one-hot assignment instead of the soft one."""
        hard, soft = self.codebook[index], p.detach() @ self.codebook
        return hard - hard.detach() - (soft - soft.detach())
