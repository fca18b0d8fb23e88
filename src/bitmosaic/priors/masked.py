"""BiGR's prior: a bidirectional Llama over binary codes that predicts hidden places (Hao et al., arXiv 2410.14672, section 3.2).

We differ in running the head on hidden places only, in a mask ratio for each image where BiGR has one for each batch (docs/log.md), in
position embeddings at the input where `input_positions` asks for them, and in conditions of any kind: where one has tokens, as text, each
block first reads them by cross-attention (as in Muse, arXiv 2301.00704).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.base import BinaryPriorSpec, ConditionLike, MaskedPrior, start, token_readers
from bitmosaic.spec import later


@dataclass(frozen=True)
class MaskedPriorSpec(BinaryPriorSpec):
    """Sizes of a masked prior over binary codes."""

    dropout: float = 0.0  # after attention and SwiGLU, in training
    modulated: bool = later(True, lambda _: True)  # blocks modulated by the class (adaLN); False: the class is only the first token
    input_positions: bool = later(False, lambda _: False)  # a vector a place at the input; False: hidden places enter alike

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}; want a probability below 1")

    def build(self) -> BiGR:
        return BiGR(self)


def hidden_counts(places: int, u: Tensor) -> Tensor:
    """Places hidden at mask ratios cos(pi/2 u), u in [0, 1), at least one: integers of u's shape."""
    return ((math.pi / 2 * u.double()).cos() * places).long().clamp(1, places)


class BiGR(MaskedPrior):
    """p(bits of hidden places | bits of known places, condition), by Llama's blocks without a causal mask."""

    def __init__(self, spec: MaskedPriorSpec):
        super().__init__()
        self.spec, self.grid, self.radix = spec, spec.grid, (2,) * spec.bits
        width, places = spec.width, math.prod(spec.grid)
        self.condition = spec.condition.build(width, tokens=True)
        self.from_bits = nn.Linear(spec.bits, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # stands at hidden places
        if spec.input_positions:
            self.input_positions = nn.Parameter(torch.randn(places, width) * 0.02)
        if spec.modulated:
            self.modulation = nn.Linear(width, 6 * width)  # one for all blocks
        self.blocks = nn.ModuleList(Block(width, spec.heads, spec.dropout, spec.modulated) for _ in range(spec.depth))
        self.readers = token_readers(spec.condition, width, spec.heads, spec.depth)
        self.norm = RMSNorm(width)
        self.positions = nn.Parameter(torch.randn(places, width) * 0.02)  # added for the head
        self.head = spec.head.build(spec.bits, width)
        self.apply(start)

    def streams(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor, rng: torch.Generator | None = None) -> Iterator[Tensor]:
        """The residual stream after each block in turn, (b, 1 + N, D); digits (b, N, K), known (b, N), encoded as `context` has it."""
        encoded = Encoded.of(encoded)
        vectors = encoded.vector
        visible = self.from_bits(digits.to(self.from_bits.weight.dtype))
        x = torch.where(known[..., None], visible, self.hidden.to(visible.dtype))
        if self.spec.input_positions:
            x = x + self.input_positions.to(x.dtype)
        x = torch.cat([vectors[:, None].to(x.dtype), x], 1)
        modulation = self.modulation(nn.functional.silu(vectors)).view(len(vectors), 6, -1) if self.spec.modulated else None
        table = rotary_table(self.grid, x.shape[-1] // self.spec.heads, x.device)
        for i, block in enumerate(self.blocks):
            if self.readers is not None:
                x = x + self.readers[i](x, encoded.tokens, encoded.mask)
            x = block(x, modulation, table, rng)
            yield x

    def context(self, digits: Tensor, known: Tensor, encoded: Encoded | Tensor, rng: torch.Generator | None = None) -> Tensor:
        *_, x = self.streams(digits, known, encoded, rng)
        return self.norm(x)[:, 1:] + self.positions

    def whole(self, digits: Tensor, encoded: Encoded | Tensor) -> Iterator[Tensor]:
        return self.streams(digits, torch.ones(digits.shape[:-1], dtype=torch.bool, device=digits.device), encoded)

    def loss(self, codes: Codes, condition: ConditionLike, rng: torch.Generator, class_dropout: float = 0.1) -> Tensor:
        """The head's mean loss on hidden places, a scalar: each image has a mask ratio, and its hidden places are uniform.

        The ratios of a batch are stratified, so the number of hidden places hardly changes from step to step.
        """
        self.check(codes)
        digits, places = codes.flat(), codes.places
        b, device = len(digits), digits.device
        u = (torch.rand((), generator=rng, device=device) + torch.arange(b, device=device) / b) % 1
        ranks = torch.rand(b, places, generator=rng, device=device).argsort(1).argsort(1)
        known = ranks >= hidden_counts(places, u)[:, None]
        context = self.context(digits, known, self.embed(self.condition.drop(condition, class_dropout, rng), b), rng)
        hidden = (~known).flatten().nonzero()[:, 0]  # once: each boolean index synchronises with a GPU
        return self.head.loss(digits.flatten(0, 1)[hidden], context.flatten(0, 1)[hidden], rng)
