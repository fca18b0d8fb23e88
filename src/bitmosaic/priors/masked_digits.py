"""A masked prior over digits of any radix, each masked by itself: MaskGIT (Chang et al., CVPR 2022, arXiv 2202.04200) for codes of several
digits a place, such as bits or residual codes; what ResGen (Kim et al., 2412.10208) calls direct token prediction.

We differ in hiding whole places in every other image of a batch, as editing does, and single digits in the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bitmosaic.codes import MOST_BITS, Codes
from bitmosaic.conditions import ClassConditionSpec, ConditionSpec, Encoded
from bitmosaic.nets.vit import ViTBlock
from bitmosaic.priors.base import ConditionLike, MaskedPrior, PriorSpec, check_grid, start, token_readers
from bitmosaic.priors.digits_head import DigitsHead
from bitmosaic.priors.maskgit import masked_counts


@dataclass(frozen=True)
class MaskedDigitsSpec(PriorSpec):
    """Sizes of a masked prior over digits."""

    grid: tuple[int, ...] = (4, 4)  # places along each axis, such as rows and columns
    radix: tuple[int, ...] = (5, 2, 4)  # of each digit of a place
    depth: int = 2  # blocks
    heads: int = 2
    width: int = 16  # D
    inner: int = 24  # width of the MLP's inside
    condition: ConditionSpec = ClassConditionSpec()

    def __post_init__(self):
        check_grid(self.grid)
        if min(*self.grid, self.depth, self.heads, self.width, self.inner) < 1 or self.width % self.heads:
            raise ValueError(f"grid, depth, heads and inner must be positive, width {self.width} divisible by {self.heads} heads")
        if not self.radix or min(self.radix) < 2 or sum(self.radix) > 2**24 or len(self.radix) > MOST_BITS:
            raise ValueError(f"radix: got {self.radix}; want one digit or more, each of two values or more, {2**24:,} in all at most")

    def on(self, grid: tuple[int, ...], radix: tuple[int, ...], condition: ConditionSpec, end: int | None = None) -> PriorSpec:
        return replace(self, grid=grid, radix=radix, condition=condition)

    def build(self) -> MaskedDigits:
        return MaskedDigits(self)


class MaskedDigits(MaskedPrior):
    """p(hidden digits | known digits, condition); the input at a place is the sum of the embeddings of its digits."""

    per_digit = True

    def __init__(self, spec: MaskedDigitsSpec):
        super().__init__()
        self.spec, self.grid, self.radix, width = spec, spec.grid, spec.radix, spec.width
        self.condition = spec.condition.build(width, tokens=True)
        self.table = nn.Embedding(sum(spec.radix) + len(spec.radix), width)  # of each digit its values, and that it is hidden
        self.positions = nn.Parameter(torch.randn(1 + math.prod(spec.grid), width) * 0.02)  # of the condition and of places
        self.blocks = nn.ModuleList(ViTBlock(width, spec.heads, spec.inner) for _ in range(spec.depth))
        self.readers = token_readers(spec.condition, width, spec.heads, spec.depth)
        self.norm = nn.LayerNorm(width)
        self.head = DigitsHead(spec.radix, width)
        self.apply(start)
        nn.init.normal_(self.table.weight, std=0.02)

    def streams(self, digits: Tensor, known: Tensor, told: Encoded | Tensor) -> Iterator[Tensor]:
        """The residual stream after each block in turn, (b, 1 + N, D); digits (b, N, K), known (b, N) or (b, N, K)."""
        hidden = torch.tensor(self.radix, device=digits.device)  # the row after a digit's values
        first = (hidden + 1).cumsum(0) - hidden - 1
        there = known if known.ndim == 3 else known[..., None]
        x = self.table(torch.where(there, digits.long(), hidden) + first).sum(-2)
        encoded = Encoded.of(told)
        x = torch.cat([encoded.vector[:, None].to(x.dtype), x], 1) + self.positions
        for i, block in enumerate(self.blocks):
            if self.readers is not None:
                x = x + self.readers[i](x, encoded.tokens, encoded.mask)
            x = block(x)
            yield x

    def context(self, digits: Tensor, known: Tensor, told: Encoded | Tensor) -> Tensor:
        *_, x = self.streams(digits, known, told)
        return self.norm(x)[:, 1:]

    def whole(self, digits: Tensor, told: Encoded | Tensor) -> Iterator[Tensor]:
        return self.streams(digits, torch.ones(digits.shape[:-1], dtype=torch.bool, device=digits.device), told)

    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """Mean cross-entropy of hidden digits, in nats; each image at a mask ratio of its own, as in `priors.maskgit`."""
        self.check(codes)
        digits = codes.flat()
        (b, places, k), device = digits.shape, digits.device
        u = (torch.rand((), generator=rng, device=device) + torch.arange(b, device=device) / b) % 1
        noise = torch.rand(b, places, k, generator=rng, device=device)
        single = (noise.flatten(1).argsort(1).argsort(1) < masked_counts(places * k, u)[:, None]).view(b, places, k)
        whole = (noise[..., 0].argsort(1).argsort(1) < masked_counts(places, u)[:, None])[..., None]
        masked = torch.where((torch.arange(b, device=device) % 2 == 0)[:, None, None], single, whole)
        told = self.embed(self.condition.drop(condition, class_dropout, rng), b)
        logits = self.head.padded(self.head.net(self.context(digits, ~masked, told)).float())  # (b, N, K, largest radix)
        each = -logits.log_softmax(-1).gather(-1, digits.long()[..., None])[..., 0]
        return (each * masked).sum() / masked.sum()
