"""A pipeline as one request sees it: the same methods, but what computes is sent to the model's thread, where it meets that of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.pipelines import Condition, Pipeline
from bitmosaic.priors.likelihood import marginal_entropy
from bitmosaic.samplers import Step
from bitmosaic.web.job import Job
from bitmosaic.web.model import Model, Wanted

AT_ONCE = 8  # images whose code lengths are computed in one turn


class Guest(Pipeline):
    """Shares all parts with `pipeline`; its methods may be called in any thread, each guest's in one."""

    def __init__(
        self, pipeline: Pipeline, name: str, model: Model, job: Job, every: bool = True, fingerprint: str = "", precision: str = ""
    ):  # fmt: skip
        """every: whether each step of sampling is told, or, which wakes this thread less often, the last one only.

        fingerprint, precision: of the weights, for those who are told how a picture was made.
        """
        self.__dict__.update(pipeline.__dict__)  # it was checked when it was made
        self.name, self.job, self._host, self._model, self._every = name, job, pipeline, model, every
        self.fingerprint, self.precision = fingerprint, precision

    def entropy(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        """How unsure the prior is of hidden places, (b, *grid), as `marginal_entropy` has it."""
        labels = self._labels(conditions)

        def compute(host: Pipeline) -> Tensor:
            rng = torch.Generator(host.device).manual_seed(0)
            return marginal_entropy(host.prior, codes, known, labels, rng).cpu()

        return self.apart(compute)

    def _complete(self, codes: Codes, known: Tensor, conditions: list, generators: list, settings: dict) -> Iterator[Step]:
        spec, labels = self.settings(**settings), self._labels(conditions)
        codes, known = codes.to(self.device), known.to(self.device)
        self.prior.check(codes, known)  # here, so that it is told to whom it concerns
        kind = None if labels is None else labels.dtype
        sampler, prior = spec.build(), self.prior

        def ask(*given) -> Iterator[Step]:
            return sampler(prior, *given)

        return self._model.complete(Wanted(self.job, (self.name, spec, kind), ask, codes, known, labels, generators, self._every))

    def _pixels(self, codes: Codes) -> Tensor:
        return self._apart(self._host._pixels, _joined_codes, codes, "pixels")

    def _codes(self, pixels: Tensor) -> Codes:
        return self._apart(self._host._codes, torch.cat, pixels, "codes")

    def _features(self, codes: Codes, layers: list[int], condition: Condition, pool: bool | int | None) -> list[Tensor]:
        return self.apart(lambda host: host._features(codes, layers, condition, pool))

    def _code_length(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        starts = range(0, len(codes), AT_ONCE)  # each takes several passes: others have their turns between
        parts = [(codes[some], known[some], conditions[some]) for some in (slice(i, i + AT_ONCE) for i in starts)]
        return torch.cat([self.apart(lambda host, part=part: host._code_length(*part)) for part in parts])

    def apart(self, work: Callable[[Pipeline], Any]) -> Any:
        """work(pipeline) in the model's thread, as one of the short things there."""
        return self._model.call(self.job, lambda _: [work(self._host)], None)

    def _apart(self, function, join, item: Any, kind: str) -> Any:
        """function of items of several guests at once, each given its own part."""

        def many(items: list) -> list:
            found, sizes = function(join(items)), [len(one) for one in items]
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            return [found[end - size : end] for size, end in zip(sizes, ends, strict=True)]

        return self._model.call(self.job, many, item, (self.name, kind), len(item))


def _joined_codes(parts: list[Codes]) -> Codes:
    return Codes(torch.cat([part.digits for part in parts]), parts[0].radix)
