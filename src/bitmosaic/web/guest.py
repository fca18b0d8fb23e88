"""A pipeline as one request sees it: the same protocol, but the model's thread computes, and batches over requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.pipelines import Pipeline, TwoStagePipeline
from bitmosaic.pipelines.features import Pool
from bitmosaic.pipelines.protocol import OnStep
from bitmosaic.samplers import SamplerSpec, Step
from bitmosaic.spec import Spec
from bitmosaic.web.job import Job
from bitmosaic.web.model import Model, SamplingTask

AT_ONCE = 8  # images whose code lengths are computed in one call


class Guest(Pipeline):
    """Base of all guests. A guest's methods may be called in any thread, but in one at a time."""

    precision = ""  # of the host's network, determined once for all guests

    def __init__(
        self, host: Pipeline, name: str, model: Model, job: Job, every: bool = True, fingerprint: str = "", precision: str = ""
    ):  # fmt: skip
        """host: the pipeline whose weights it shares. every: whether each sampling step is reported, or the last one only, which wakes
        this thread less often. fingerprint, precision: of the weights, for the metadata of pictures.
        """
        self.host, self.name, self.model, self.job, self.every = host, name, model, job, every
        self.fingerprint, self.precision = fingerprint, precision
        self.class_names, self.background, self.part_names = host.class_names, host.background, host.part_names
        for name, part in host.parts.items():
            setattr(self, name, part)

    @property
    def size(self) -> tuple[int, ...]:
        return self.host.size

    @property
    def channels(self) -> int:
        return self.host.channels

    def settings(self, *sampler, **changes) -> Spec:
        return self.host.settings(*sampler, **changes)

    def apart(self, work: Callable[[Pipeline], Any]) -> Any:
        """work(host), computed in the model's thread as one short call."""
        return self.model.call(self.job, lambda _: [work(self.host)], None)

    def together(self, function: Callable[[Any], Any], join: Callable[[list], Any], item: Any, kind: tuple) -> Any:
        """This item's slice of function(join(items)), computed for all items of that kind that wait for the model's thread."""

        def many(items: list) -> list:
            found, sizes = function(join(items)), [len(one) for one in items]
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            return [found[end - size : end] for size, end in zip(sizes, ends, strict=True)]

        return self.model.call(self.job, many, item, (self.name, *kind), len(item))


class DrawingGuest(Guest):
    """A guest of a pipeline that can only draw, such as a GAN's."""

    def draw(self, conditions: list, seeds: list[int], settings: Spec, on_step: OnStep = None) -> Tensor:
        def drawn(pairs: list[tuple[Any, int]]) -> Tensor:
            parts = [pairs[start : start + self.model.batch] for start in range(0, len(pairs), self.model.batch)]
            return torch.cat([self.host.draw([c for c, _ in part], [seed for _, seed in part], settings) for part in parts])

        self.labels(conditions)  # raises here for a wrong condition, so that no other request of the batch fails
        return self.together(drawn, _chained, list(zip(conditions, seeds, strict=True)), ("draw", settings))


class CodesGuest(Guest, TwoStagePipeline):
    """A guest of a pipeline over codes."""

    def __init__(self, host: TwoStagePipeline, *arguments):
        super().__init__(host, *arguments)
        self.sampler, self.static, self.logit_scale = host.sampler, host.static, host.logit_scale

    def fill(
        self, codes: Codes, known: Tensor, conditions: list, generators: list[torch.Generator], settings: SamplerSpec
    ) -> Iterator[Step]:  # fmt: skip
        labels, prior, sampler = self.labels(conditions), self.prior, settings.build()
        codes, known = codes.to(self.device), known.to(self.device)
        prior.check(codes, known)  # raises here, so that no other request of the batch fails
        kind = None if labels is None else type(labels)

        def ask(*given) -> Iterator[Step]:
            return sampler(prior, *given)

        return self.model.complete(SamplingTask(self.job, (self.name, settings, kind), ask, codes, known, labels, generators, self.every))

    def encode_pixels(self, pixels: Tensor) -> Codes:
        return self.together(self.host.encode_pixels, torch.cat, pixels, ("codes",))

    def decode_pixels(self, codes: Codes) -> Tensor:
        return self.together(self.host.decode_pixels, _joined_codes, codes, ("pixels",))

    def code_features(self, codes: Codes, layers: Sequence[int], conditions: list, pool: Pool = None) -> list[Tensor]:
        return self.apart(lambda host: host.code_features(codes, layers, conditions, pool))

    def code_length(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        starts = range(0, len(codes), AT_ONCE)  # each takes several passes; other requests are served in between
        parts = [(codes[some], known[some], conditions[some]) for some in (slice(i, i + AT_ONCE) for i in starts)]
        return torch.cat([self.apart(lambda host, part=part: host.code_length(*part)) for part in parts])

    def entropy(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        return self.apart(lambda host: host.entropy(codes, known, conditions))


def guest_of(host: Pipeline, *arguments) -> Guest:
    """The guest for a pipeline's kind; arguments as of `Guest`."""
    return (CodesGuest if isinstance(host, TwoStagePipeline) else DrawingGuest)(host, *arguments)


def _joined_codes(parts: list[Codes]) -> Codes:
    return Codes(torch.cat([part.digits for part in parts]), parts[0].radix)


def _chained(parts: list[list]) -> list:
    return list(chain(*parts))
