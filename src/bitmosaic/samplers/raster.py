"""Raster order: one place after another, row by row; what autoregressive priors are sampled with, and one of the orders BiGR is compared in
(arXiv 2410.14672).

A masked prior is asked anew for each place, an autoregressive one keeps keys and values. Known places are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitmosaic.codes import Codes, on_device
from bitmosaic.conditions import Condition
from bitmosaic.samplers.base import PriorLike, Sampler, SamplerSpec, Step, filled
from bitmosaic.samplers.guidance import Branches


@dataclass(frozen=True)
class RasterSpec(SamplerSpec):
    """Settings; there are as many steps as places."""

    gone: ClassVar[dict[str, Any]] = {"procedure": "chain"}
    evaluations: int = 100  # S, of the head for one place
    guidance_scale: float = 2.5  # 1: none, 0: the null class
    sample_last: bool = True  # draw the digits at the end of a chain; False: take the likeliest

    def build(self) -> Raster:
        return Raster(self)


class Raster(Sampler):
    """For each place in raster order: its context, and the head's draw where it is hidden."""

    name = "raster"
    words = "row by row"
    families = ("masked", "causal")

    def __init__(self, spec: RasterSpec):
        self.spec = spec

    @torch.no_grad()
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        self.check(prior, codes, known, generators)
        spec, shape, b = self.spec, known.shape, len(known)
        known = known.flatten(1)
        digits = codes.flat() * known[..., None]
        encoded = Branches(prior, condition, b)(spec.guidance_scale)
        n, total = len(encoded) // b, known.shape[1]
        context = prior.in_order(encoded) if prior.family == "causal" else None
        hidden = (~known).cpu()  # the one wait for the device
        for i in range(total):
            if i and prior.spec.end is not None:
                digits, known = filled(digits, known, prior.spec.end, i)
                hidden = (~known).cpu()
                if not hidden.any():  # all have ended
                    entropy = torch.zeros(shape, device=known.device)
                    yield Step(total, total, Codes(digits.view(*shape, 1), codes.radix), known.view(shape), entropy)
                    return
            entropy, rows = torch.zeros(known.shape, device=known.device), hidden[:, i].nonzero()[:, 0].tolist()
            if context is not None:
                told = context(digits[:, i - 1].repeat(n, 1) if i else None)
            elif rows:
                told = prior.context(digits.repeat(n, 1, 1), known.repeat(n, 1), encoded)[:, i]
            if rows:
                at = on_device(rows, known.device)
                found = self._draw(prior, told.view(n, b, -1)[:, at], [generators[j] for j in rows])
                digits, known = digits.clone(), known.clone()
                digits[at, i], known[:, i], entropy[at, i] = found[0].to(digits.dtype), True, prior.head.entropy(found[1]).mean(-1)
            yield Step(i + 1, total, Codes(digits.view(*shape, len(codes.radix)), codes.radix), known.view(shape), entropy.view(shape))

    def _draw(self, prior, contexts: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        spec, count, digits = self.spec, prior.head.draws(self.spec.evaluations), len(prior.radix)
        noise = iter(torch.stack([torch.rand(count, digits, generator=rng, device=rng.device) for rng in generators], 1))
        return prior.head.draw(contexts, spec.guidance_scale, spec.evaluations, lambda: next(noise), spec.sample_last)
