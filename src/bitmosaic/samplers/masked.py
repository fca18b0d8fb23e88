"""The base class of samplers of masked priors with any head: rounds, guidance, one generator an image, work on hidden places only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitmosaic.codes import Codes, digit_dtype, on_device
from bitmosaic.conditions import Condition
from bitmosaic.nets.schedules import hidden_after
from bitmosaic.samplers.base import PriorLike, Sampler, SamplerSpec, Step
from bitmosaic.samplers.guidance import Branches, GuidanceSchedule, scale_of_round

SLACK = 0.1  # assumed distance of a chain's end from certainty: on the shipped model 2 % of the rounds then need a second pass


@dataclass(frozen=True)
class MaskedSamplerSpec(SamplerSpec, abstract=True):
    """Settings common to samplers of masked priors."""

    gone: ClassVar[dict[str, Any]] = {"procedure": "chain"}
    steps: int = 20  # n, rounds
    evaluations: int = 100  # S, of the head for one place
    guidance_scale: float = 2.5  # 1: none, 0: the null class
    temperature: float = 0.17  # of the Gumbel noise on the confidence
    sample_last: bool = True  # draw the digits at the end of a chain; False: take the likeliest value
    guidance_schedule: GuidanceSchedule = "constant"  # over the rounds
    guidance_power: float = 2.0  # of power-cosine: the higher, the later guidance rises
    unguided: float = 0.0  # share of the rounds, from the first on, without guidance

    def __post_init__(self):
        super().__post_init__()
        if self.guidance_schedule not in ("constant", "power-cosine"):
            raise ValueError(f"guidance_schedule: got {self.guidance_schedule!r}; want 'constant' or 'power-cosine'")
        if not 0 < self.guidance_power < 1e3 or not 0 <= self.unguided <= 1:
            raise ValueError(f"guidance_power {self.guidance_power} must be positive, unguided {self.unguided} in [0, 1]")


@dataclass
class HiddenPlaces:
    """Hidden places for which the head draws: in row j the first counts[j] columns; the others only pad the batch."""

    places: Tensor  # (b, m) indices of places
    counts: list[int]
    contexts: Tensor  # (branches, b, m, D) context vectors
    scale: float  # of guidance
    generators: list[torch.Generator]
    gumbel: Tensor | None = None  # (b, m) noise of the confidence

    def first(self, counts: list[int]) -> Tensor:
        """(b, m) True at the first counts[j] columns of image j."""
        columns = torch.arange(self.places.shape[1], device=self.places.device)
        return columns < on_device(counts, self.places.device)[:, None]

    def uniform(self, count: int, digits: int) -> Tensor:
        """Uniforms (count, b, m, digits), each image's own columns from its own generator on its device."""
        drawn = torch.full((count, *self.places.shape, digits), 0.5, device=self.places.device)
        for j, (rng, own) in enumerate(zip(self.generators, self.counts, strict=True)):
            if own:
                drawn[:, j, :own] = torch.rand(count, own, digits, generator=rng, device=rng.device)
        return drawn

    def at(self, columns: Tensor, counts: list[int]) -> HiddenPlaces:
        """The places at `columns` (b, c), of which counts[j] belong to image j."""
        wide = columns[..., None].expand(len(self.contexts), *columns.shape, self.contexts.shape[-1])
        contexts, gumbel = self.contexts.gather(2, wide), self.gumbel.gather(1, columns)
        return HiddenPlaces(self.places.gather(1, columns), counts, contexts, self.scale, self.generators, gumbel)


class MaskedSampler(Sampler):
    """For i = 1..n: evaluate the backbone, draw by the head, reveal the most confident places; subclasses differ in the draws."""

    families = ("masked",)

    def __init__(self, spec: MaskedSamplerSpec):
        self.spec = spec

    @torch.no_grad()
    def __call__(
        self, prior: PriorLike, codes: Codes, known: Tensor, condition: Condition | Tensor | None,
        generators: list[torch.Generator],
    ) -> Iterator[Step]:  # fmt: skip
        self.check(prior, codes, known, generators)
        spec, shape = self.spec, known.shape
        known = known.flatten(1)
        digits = codes.flat() * known[..., None]  # (b, N, K)
        conditions = Branches(prior, condition, len(known))
        at_start = hidden = (~known).sum(1).tolist()  # the only synchronisation (E6), but for two a round (E9)
        for i in range(1, spec.steps + 1):
            left = self._plan(i, hidden, at_start)
            entropy = torch.zeros(known.shape, device=known.device)
            if left != hidden:
                scale = scale_of_round(spec.guidance_schedule, spec.guidance_scale, spec.guidance_power, spec.unguided, i / spec.steps)
                asked = self._ask(prior, digits, known, conditions(scale), scale, hidden, left, generators)
                digits, known, entropy, hidden = self._reveal(prior, digits, known, asked, hidden, left)
            yield Step(i, spec.steps, Codes(digits.view(*shape, len(codes.radix)), codes.radix), known.view(shape), entropy.view(shape))

    def _plan(self, i: int, hidden: list[int], at_start: list[int]) -> list[int]:
        """The number of places of each image that are hidden after round i, of `hidden` before it."""
        return [min(h, hidden_after(i, self.spec.steps, start)) for h, start in zip(hidden, at_start, strict=True)]

    def _ask(self, prior, digits: Tensor, known: Tensor, encoded, scale: float, hidden: list[int], left: list[int], generators):
        """The context vectors of the hidden places, for images that reveal some in this round."""
        b, most = len(known), max(hidden)
        places = known.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]  # (b, m) hidden places first (E1)
        n = len(encoded) // b  # branches, both in one call (E3)
        contexts = prior.context(digits.repeat(n, 1, 1), known.repeat(n, 1), encoded)  # (n * b, N, D)
        contexts = contexts.gather(1, places.repeat(n, 1)[..., None].expand(-1, -1, contexts.shape[-1])).view(n, b, most, -1)
        asked = HiddenPlaces(places, [h if k < h else 0 for h, k in zip(hidden, left, strict=True)], contexts, scale, generators)
        asked.gumbel = -(-asked.uniform(1, 1)[0, ..., 0].clamp(1e-20, 1 - 1e-7).log()).log()
        return asked

    def _reveal(self, prior, digits: Tensor, known: Tensor, asked: HiddenPlaces, hidden: list[int], left: list[int]):
        """One round: image j goes from hidden[j] to left[j] hidden places. New digits (b, N, K), known (b, N), entropy (b, N), hidden."""
        reveal = [h - k for h, k in zip(hidden, left, strict=True)]
        return *self._reveal_surest(prior, digits, known, asked, reveal), left

    def _reveal_surest(self, prior, digits: Tensor, known: Tensor, asked: HiddenPlaces, reveal: list[int]):
        """Image j reveals the reveal[j] places whose chains end most certain. New digits, known, and entropy where chains ran.

        A chain ends at most certain, so its Gumbel noise bounds a place's confidence before its chain runs. First run the chains of places
        within SLACK of the last bound that would be revealed, then those whose bounds exceed the last confidence that would be. No other
        place can be revealed, so places and bits are those of running all chains (E9 in docs/performance.md, ours).
        """
        noise = asked.uniform(prior.head.draws(self.spec.evaluations), digits.shape[-1])
        own = asked.first(asked.counts)
        bound = self._confidence(torch.ones(own.shape, device=own.device), asked)
        walked = own & (bound >= _at_rank(bound.masked_fill(~own, -math.inf), reveal) - SLACK)
        drawn, p = self._walk(prior, asked, noise, walked)
        sure = self._confidence(prior.head.certainty(p), asked).masked_fill(~walked, -math.inf)
        missed = own & ~walked & (bound >= _at_rank(sure, reveal))
        if bool(missed.any()):
            more, p_more = self._walk(prior, asked, noise, missed)
            drawn, p = torch.where(missed[..., None], more, drawn), torch.where(missed[..., None], p_more, p)
            walked = walked | missed
            sure = self._confidence(prior.head.certainty(p), asked).masked_fill(~walked, -math.inf)
        entropy = self._spread(known, asked, prior.head.entropy(p).mean(-1), walked)
        return *self._keep(digits, known, asked, drawn, sure, reveal), entropy

    def _walk(self, prior, asked: HiddenPlaces, noise: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Digits (b, m, K) that the head draws at the columns `wanted` (b, m) from `noise`, and their numbers (b, m, told)."""
        spec, rows = self.spec, wanted.flatten().nonzero()[:, 0]
        drawn = torch.zeros(noise.shape[1:], dtype=digit_dtype(prior.radix), device=noise.device)
        p = torch.zeros(*wanted.shape, prior.head.told, device=noise.device)
        if len(rows):
            draws = iter(noise.flatten(1, 2))
            contexts = asked.contexts.flatten(1, 2)[:, rows]
            found = prior.head.draw(contexts, asked.scale, spec.evaluations, lambda: next(draws)[rows], spec.sample_last)
            drawn.flatten(0, 1)[rows], p.flatten(0, 1)[rows] = found[0].to(drawn.dtype), found[1]
        return drawn, p

    def _confidence(self, certainty: Tensor, asked: HiddenPlaces) -> Tensor:
        """Confidence (b, m): certainty plus Gumbel noise; finite, so that it ranks above padding."""
        return (certainty + self.spec.temperature * asked.gumbel).clamp(-1e38, 1e38)

    def _order(self, confidence: Tensor, asked: HiddenPlaces) -> Tensor:
        """Columns (b, m) by falling confidence, padding last."""
        return confidence.masked_fill(~asked.first(asked.counts), -math.inf).argsort(dim=1, descending=True, stable=True)

    def _keep(self, digits: Tensor, known: Tensor, asked: HiddenPlaces, drawn: Tensor, confidence: Tensor, reveal: list[int]):
        """New digits (b, N, K) and known (b, N): image j reveals its reveal[j] most confident places."""
        chosen = torch.zeros_like(asked.places, dtype=torch.bool).scatter(1, self._order(confidence, asked), asked.first(reveal))
        rows = torch.arange(len(known), device=known.device)[:, None]
        new_digits, new_known = digits.clone(), known.clone()
        new_digits[rows, asked.places] = torch.where(chosen[..., None], drawn.to(digits.dtype), digits[rows, asked.places])
        new_known[rows, asked.places] = known[rows, asked.places] | chosen
        return new_digits, new_known

    def _spread(self, known: Tensor, asked: HiddenPlaces, values: Tensor, where: Tensor) -> Tensor:
        """`values` (b, m) at the columns `where` (b, m), zero elsewhere, (b, N)."""
        values = torch.where(where, values, 0.0)
        return torch.zeros(known.shape, device=known.device).scatter(1, asked.places, values)


def _at_rank(values: Tensor, ranks: list[int]) -> Tensor:
    """The ranks[j]-th largest of row j of values (b, m), (b, 1); infinite where the rank is 0."""
    ranks = on_device(ranks, values.device)[:, None]
    found = values.sort(dim=1, descending=True).values.gather(1, (ranks - 1).clamp(min=0))
    return torch.where(ranks > 0, found, math.inf)
