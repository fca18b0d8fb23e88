"""The base class of samplers in raster order: one place after another, until an `end`; subclasses draw one place."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import torch
from torch import Tensor

from bitmosaic.codes import Codes, on_device
from bitmosaic.conditions import Condition
from bitmosaic.samplers.base import PriorLike, Sampler, Step
from bitmosaic.samplers.guidance import Branches


class InOrderSampler(Sampler):
    """For each place in raster order: its context, and a draw where it is hidden. Known places are passed over.

    A masked prior is evaluated anew for each place; a causal one keeps a KV cache.
    """

    @torch.no_grad()
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        self.check(prior, codes, known, generators)
        shape, b = known.shape, len(known)
        known = known.flatten(1)
        digits = codes.flat() * known[..., None]  # (b, N, K)
        encoded = Branches(prior, condition, b)(self.spec.guidance_scale)
        n, total = len(encoded) // b, known.shape[1]
        context = prior.in_order(encoded) if prior.family == "causal" else None
        hidden = (~known).cpu()  # the only synchronisation with the device
        for i in range(total):
            entropy = torch.zeros(known.shape, device=known.device)
            if i and prior.spec.end is not None:
                digits, known = ended(digits, known, prior.spec.end, i)
                hidden = (~known).cpu()
            over = i > 0 and prior.spec.end is not None and not hidden.any()
            rows = hidden[:, i].nonzero()[:, 0].tolist()
            if context is not None and not over:
                told = context(digits[:, i - 1].repeat(n, 1) if i else None)
            elif rows:
                told = prior.context(digits.repeat(n, 1, 1), known.repeat(n, 1), encoded)[:, i]
            if rows:
                at = on_device(rows, known.device)
                drawn, unsure = self._draw(prior, told.view(n, b, -1)[:, at], i, [generators[j] for j in rows])
                digits, known = digits.clone(), known.clone()
                digits[at, i], known[:, i], entropy[at, i] = drawn.to(digits.dtype), True, unsure
            done = total if over else i + 1
            yield Step(done, total, Codes(digits.view(*shape, len(codes.radix)), codes.radix), known.view(shape), entropy.view(shape))
            if over:
                return

    @abc.abstractmethod
    def _draw(self, prior, contexts: Tensor, place: int, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Digits (m, K) of a place in m images and their relative entropy (m,), from contexts (branches, m, D)."""


def ended(digits: Tensor, known: Tensor, end: int, place: int) -> tuple[Tensor, Tensor]:
    """Digits (b, N, 1) and known (b, N) with `end` at all hidden places from `place` >= 1 on, in images that ended before it."""
    late = torch.arange(known.shape[1], device=known.device) >= place
    over = (digits[:, place - 1] == end) & ~known & late
    return torch.where(over[..., None], end, digits), known | over
