"""FQGAN's representation loss (Bai et al., arXiv 2411.16681, section 3.2): from the codewords of one codebook alone a head predicts what a
frozen feature network says of the image.

We differ in the network, any that is given, of whose maps one is averaged over places, in the place of CLIP and DINO; and in a batch of one
image, which has no loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.vit import ViTBlock
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class RepresentationSpec(Spec):
    """The representation loss of one codebook, and the head with which it is computed, which is trained beside the tokenizer."""

    book: int = 1  # number of the codebook; FQGAN leaves the first, the visual one, free
    weight: float = 0.5  # of the loss
    level: int = -1  # of the feature network's maps, whose mean over places is predicted; -1: the last
    width: int = 16  # numbers of a feature: channels of that map, and of the head
    depth: int = 3  # blocks of the head
    heads: int = 8  # of its attention

    def __post_init__(self):
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight: got {self.weight}; want a finite weight, not negative")
        if self.book < 0 or min(self.width, self.heads) < 1 or self.depth < 0:
            raise ValueError(f"book {self.book}, width {self.width}, heads {self.heads}, depth {self.depth}: want positive numbers")
        if self.width % self.heads:
            raise ValueError(f"width: got {self.width}; want a multiple of {self.heads} heads")

    def build(self, inside: int = 4, places: int = 4) -> FeatureHead:
        """A head for codewords of `inside` numbers at so many places."""
        return FeatureHead(self, inside, places)


class FeatureHead(nn.Module):
    """Codewords (b, *grid, d) -> a feature (b, width): the class token of a transformer over them."""

    def __init__(self, spec: RepresentationSpec, inside: int, places: int):
        super().__init__()
        width = spec.width
        self.widen = nn.Sequential(nn.Linear(inside, width), nn.ReLU(), nn.Linear(width, width))
        self.token = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.positions = nn.Parameter(torch.randn(1 + places, width) * width**-0.5)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, spec.heads, 4 * width, bias=True) for _ in range(spec.depth))

    def tokens(self, codewords: Tensor) -> Tensor:
        """The class token and a token of each place, (b, 1 + places, width)."""
        x = self.widen(codewords.flatten(1, -2))
        h = self.norm_in(torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.positions)
        for block in self.blocks:
            h = block(h)
        return self.norm_out(h)

    def forward(self, codewords: Tensor) -> Tensor:
        return self.tokens(codewords)[:, 0]


def info_nce(predicted: Tensor, wanted: Tensor) -> Tensor:
    """mean_i -log(exp(s_ii) / sum_j exp(s_ij)), s_ij the cosine of a prediction and a feature, each (b, d); a scalar."""
    s = F.normalize(predicted.float(), dim=-1) @ F.normalize(wanted.float(), dim=-1).T
    return F.cross_entropy(s, torch.arange(len(s), device=s.device))


def pooled(maps: Sequence[Tensor], spec: RepresentationSpec) -> Tensor:
    """The feature that a head predicts, (b, width). ValueError where the feature network has no such map, or of other channels."""
    if not -len(maps) <= spec.level < len(maps):
        raise ValueError(f"representation: level {spec.level}, but the feature network has {len(maps)} maps")
    found = maps[spec.level].flatten(2).mean(2)
    if found.shape[1] != spec.width:
        raise ValueError(
            f"representation: the feature network's map {spec.level} has {found.shape[1]} channels, and width is {spec.width}; give width "
            f"{found.shape[1]}"
        )
    return found
