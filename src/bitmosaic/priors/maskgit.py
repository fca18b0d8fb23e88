"""MaskGIT's prior: a bidirectional Transformer over codebook indices that predicts masked ones (Chang et al., CVPR 2022, arXiv 2202.04200).

The network is the U-ViT of TiTok's published generator (Yu et al., arXiv 2406.07550): skip connections from the first half of the blocks to
the second, the class as the first token. We differ in stratified mask ratios in a batch, as in `priors.masked`, and in
cross-attention before each block to the tokens of a condition, such as text (Muse, arXiv 2301.00704).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.nets.vit import ViTBlock
from bitmosaic.priors.base import ConditionLike, IndexPriorSpec, MaskedPrior, start, token_readers
from bitmosaic.priors.index_head import IndexHead


@dataclass(frozen=True)
class MaskGITSpec(IndexPriorSpec):
    """Sizes of a MaskGIT, and what it learns."""

    depth: int = 3  # blocks, an odd number: as many before the middle one as after it
    inner: int = 24  # width of the MLP's inside
    smoothing: float = 0.1  # of labels in the cross-entropy
    visible_weight: float = 0.0  # of places that are not masked in the loss; those that are have 1

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads or self.inner < 1 or self.depth % 2 == 0:
            raise ValueError(f"width {self.width} must be divisible by {self.heads} heads, inner positive, and depth {self.depth} odd")
        if not 0 <= self.smoothing < 1 or not 0 <= self.visible_weight <= 1:
            raise ValueError(f"smoothing {self.smoothing} must be in [0, 1), visible_weight {self.visible_weight} in [0, 1]")

    def build(self) -> MaskGIT:
        return MaskGIT(self)


def masked_counts(places: int, u: Tensor) -> Tensor:
    """Places masked at ratios arccos(u) / (pi / 2), u in [0, 1), at least one: integers of u's shape."""
    return (places * u.double().acos() / (math.pi / 2)).round().long().clamp(1, places)


def token_loss(logits: Tensor, indices: Tensor, masked: Tensor, smoothing: float, visible_weight: float) -> Tensor:
    """Cross-entropy in nats a place with smoothed labels, masked places with weight 1: logits (..., V), indices and masked (...)."""
    each = F.cross_entropy(logits.float().flatten(0, -2), indices.flatten().long(), reduction="none", label_smoothing=smoothing)
    weight = torch.where(masked.flatten(), 1.0, visible_weight)
    return (each * weight).sum() / (weight.sum() + 1e-8)


class MaskGIT(MaskedPrior):
    """p(indices of masked places | indices of the others, class)."""

    def __init__(self, spec: MaskGITSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, spec.radix
        width, places, half = spec.width, math.prod(spec.grid), spec.depth // 2
        self.condition = spec.condition.build(width, tokens=True)
        self.table = nn.Embedding(spec.codewords, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # stands at masked places
        self.positions = nn.Parameter(torch.randn(1 + places, width) * 0.02)  # of the class and of places
        self.blocks = nn.ModuleList(ViTBlock(width, spec.heads, spec.inner, skips=i > half) for i in range(spec.depth))
        self.readers = token_readers(spec.condition, width, spec.heads, spec.depth)
        self.norm = nn.LayerNorm(width)
        self.head = IndexHead(spec.codewords, width, bias=True)
        self.apply(start)
        nn.init.normal_(self.table.weight, std=0.02)

    def streams(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor) -> Iterator[Tensor]:
        """The residual stream after each block in turn, (b, 1 + N, D); digits (b, N, 1), known (b, N), encoded as `context` has it."""
        encoded = Encoded.of(encoded)
        x = torch.where(known[..., None], self.table(digits[..., 0].long()), self.hidden)
        x = torch.cat([encoded.vector[:, None].to(x.dtype), x], 1) + self.positions
        half, earlier = self.spec.depth // 2, []
        for i, block in enumerate(self.blocks):
            if self.readers is not None:
                x = x + self.readers[i](x, encoded.tokens, encoded.mask)
            x = block(x, earlier.pop() if i > half else None)
            if i < half:
                earlier.append(x)
            yield x

    def context(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor) -> Tensor:
        *_, x = self.streams(digits, known, encoded)
        return self.norm(x)[:, 1:]

    def whole(self, digits: Tensor, encoded: Encoded | Tensor) -> Iterator[Tensor]:
        return self.streams(digits, torch.ones(digits.shape[:-1], dtype=torch.bool, device=digits.device), encoded)

    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """`token_loss`, each image at a mask ratio of its own (`masked_counts`), those of a batch spread evenly, and places uniform."""
        self.check(codes)
        digits, places = codes.flat(), codes.places
        b, device = len(digits), digits.device
        u = (torch.rand((), generator=rng, device=device) + torch.arange(b, device=device) / b) % 1
        ranks = torch.rand(b, places, generator=rng, device=device).argsort(1).argsort(1)
        masked = ranks < masked_counts(places, u)[:, None]
        encoded = self.embed(self.condition.drop(condition, class_dropout, rng), b)
        logits = self.head.net(self.context(digits, ~masked, encoded))
        return token_loss(logits, digits[..., 0], masked, self.spec.smoothing, self.spec.visible_weight)
