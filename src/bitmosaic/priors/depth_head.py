"""The depth head (RQ-Transformer, Lee et al., arXiv 2203.01941; FAR, 2411.16681): the digits of a place one after another, each given those
before it, by a small causal transformer over the context of the place and their embeddings.

We differ in any number of digits, of any radices; digits are few, so no keys are kept between them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.codes import digit_widths
from bitmosaic.nets.categorical import drawn, relative_entropy
from bitmosaic.nets.llama import Block, RMSNorm, attend_causal
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.head import BitByBit, Head, guided
from bitmosaic.priors.index_head import down_tree


class DepthHead(Head):
    """P(digit i | digits before it, context of the place). It has the embeddings of digits, with which a prior reads them too."""

    of_indices = True

    def __init__(self, radix: tuple[int, ...], condition: int, heads: int, depth: int, multiple: int = 256):
        """condition: width D of contexts, and of the head; heads: of its attention; depth: its blocks."""
        super().__init__()
        self.radix, self.told, self.heads = radix, 2 * len(radix), heads  # of each digit its probability, then the entropies
        self.tables = nn.ModuleList(nn.Embedding(r, condition) for r in radix)
        self.blocks = nn.ModuleList(Block(condition, heads, 0.0, False, multiple) for _ in range(depth))
        self.norm = RMSNorm(condition)
        self.outs = nn.ModuleList(nn.Linear(condition, r, bias=False) for r in radix)

    def embedded(self, digits: Tensor) -> list[Tensor]:
        """Embeddings of digits (..., up to K), each (..., D)."""
        return [table(digit.long()) for table, digit in zip(self.tables, digits.unbind(-1), strict=False)]

    def streams(self, conditions: Tensor, digits: Tensor) -> Tensor:
        """What digits 0 to j are predicted from, (m, j + 1, D), of contexts (m, D) and the digits before, (m, j)."""
        x = torch.stack([conditions, *self.embedded(digits)], 1)
        table = rotary_table((1, max(1, len(self.radix) - 1)), x.shape[-1] // self.heads, x.device)[: x.shape[1]]
        for block in self.blocks:
            x = block(x, None, table, None, attend_causal)
        return self.norm(x)

    def next_logits(self, conditions: Tensor, digits: Tensor, guidance_scale: float = 1.0) -> Tensor:
        """(m, radix[j]) float32, of the digit behind `digits` (m, j); conditions (branches, m, D)."""
        j, branches = digits.shape[-1], len(conditions)
        x = self.streams(conditions.flatten(0, 1), digits.repeat(branches, 1))[:, -1]
        return guided(self.outs[j](x).view(branches, len(digits), -1), guidance_scale)

    def digit_by_digit(self, conditions: Tensor, guidance_scale: float) -> Generator[Tensor, Tensor, None]:
        """Yields logits (m, radix[j]) of digit j and is sent the digit, (m,)."""
        digits = torch.zeros(conditions.shape[1], 0, dtype=torch.int64, device=conditions.device)
        for _ in self.radix:
            digit = yield self.next_logits(conditions, digits, guidance_scale)
            digits = torch.cat([digits, digit[:, None].long()], 1)

    def certainty(self, p: Tensor) -> Tensor:
        return p[..., : len(self.radix)].mean(-1)

    def entropy(self, p: Tensor) -> Tensor:
        return p[..., len(self.radix) :]

    def loss(self, x_0: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Cross-entropy in nats a digit."""
        x = self.streams(condition, x_0[:, :-1])
        each = [F.cross_entropy(out(x[:, j]).float(), x_0[:, j].long()) for j, out in enumerate(self.outs)]
        return torch.stack(each).mean()

    def draws(self, evaluations: int) -> int:
        return 1

    def draw(
        self, conditions: Tensor, guidance_scale: float, evaluations: int, uniform: Callable[[], Tensor], sample_last: bool = True
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        return self._chosen(conditions, guidance_scale, uniform(), sample_last, lambda p, digit: p.gather(1, digit[:, None])[:, 0])

    def marginals(self, conditions: Tensor, guidance_scale: float, uniform: Tensor) -> Tensor:
        """The greatest probability of each digit, given those before it as drawn by `uniform`."""
        return self._chosen(conditions, guidance_scale, uniform, True, lambda p, digit: p.amax(-1))[1]

    def _chosen(
        self, conditions: Tensor, guidance_scale: float, uniform: Tensor, sampled: bool, told: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        asked, digits, numbers, entropies = self.digit_by_digit(conditions, guidance_scale), [], [], []
        logits: Tensor | None = next(asked)
        while logits is not None:
            p = logits.softmax(-1)
            digits.append(drawn(p, uniform[:, len(digits)]) if sampled else p.argmax(-1))
            numbers.append(told(p, digits[-1]))
            entropies.append(relative_entropy(p))
            logits = sent(asked, digits[-1])
        return torch.stack(digits, -1), torch.stack([*numbers, *entropies], -1)

    def bit_by_bit(self, conditions: Tensor, uniform: Callable[[], Tensor]) -> BitByBit:
        """As `Head.bit_by_bit`, one digit after another, the most significant bit of each first."""
        digits = torch.zeros(conditions.shape[1], 0, dtype=torch.int64, device=conditions.device)
        first = 0
        for width in digit_widths(self.radix):
            asked = down_tree(self.next_logits(conditions, digits), width, first)
            digit = torch.zeros(len(digits), dtype=torch.int64, device=digits.device)
            columns, logits = next(asked)
            for _ in range(width):
                bit = yield columns, logits
                digit = 2 * digit + bit[:, 0].long()
                if (left := sent(asked, bit)) is not None:
                    columns, logits = left
            digits, first = torch.cat([digits, digit[:, None]], 1), first + width

    def log_likelihood(self, digits: Tensor, conditions: Tensor, uniform: Callable[[], Tensor]) -> Tensor:
        x, digits = self.streams(conditions[0], digits[:, :-1]), digits.long()
        each = [out(x[:, j]).float().log_softmax(-1).gather(1, digits[:, j : j + 1]) for j, out in enumerate(self.outs)]
        return torch.cat(each, 1).sum(1)


def sent(generator: Generator, value: Tensor):
    """What the generator yields next; None where it has ended."""
    try:
        return generator.send(value)
    except StopIteration:
        return None
