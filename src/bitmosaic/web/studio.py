"""The state of a studio: its pipelines, the model's thread, caches and counters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bitmosaic import __version__
from bitmosaic.images import SHIPPED_SETS, shipped_name
from bitmosaic.images.read import as_colour
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.pipelines import Pipeline, TwoStagePipeline, zoo_names
from bitmosaic.samplers import described_samplers
from bitmosaic.samplers.settings import described
from bitmosaic.web import requests
from bitmosaic.web.errands import Errands
from bitmosaic.web.guest import Guest, guest_of
from bitmosaic.web.job import Job
from bitmosaic.web.kept import DiskCache
from bitmosaic.web.limits import Limits, RequestError
from bitmosaic.web.model import Model
from bitmosaic.web.neighbours import BY, Bundle
from bitmosaic.web.thumbnails import Thumbnails
from bitmosaic.web.words import shown

FOREVER = 1e8  # seconds, about three years: locks refuse time-outs that overflow


class Studio:
    """The state that all requests share: pipelines, the model's thread, limits, caches and metrics."""

    def __init__(
        self, pipelines: dict[str, Pipeline], limits: Limits, batch: int, wait: float, threads: int | None = None, cache: Path | None = None
    ):  # fmt: skip
        """pipelines: by name, the first is the default. batch, wait, threads: as of `Model`. cache: folder for thumbnails and vectors of
        bundled images; None: they are kept in memory only.
        """
        self.pipelines, self.limits = pipelines, limits
        self.bundled = {name: load() for name, load in SHIPPED_SETS.items()}
        self.model = Model(batch, wait, limits.queue, threads)
        self.threads = anyio.CapacityLimiter(limits.queue + 16)
        self._known = {name: (fingerprint(pipe), pipe.precision) for name, pipe in pipelines.items()}
        self._keep(cache)
        self.registry = CollectorRegistry()
        self.requests = Counter("bitmosaic_requests", "Requests, by route and status", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "bitmosaic_request_seconds", "From the first byte to the last, by route", ["route"], registry=self.registry,
            buckets=[0.01, 0.03, 0.1, 0.3, 1, 3, 10, 20, 40, 60, 120],
        )  # fmt: skip
        sizes = Histogram("bitmosaic_batch_images", "Images drawn together", registry=self.registry, buckets=[1, 2, 4, 8, 16, 32, 64, 128])
        waited = Gauge("bitmosaic_images_waited_for", "Images asked for and not yet answered", registry=self.registry)
        waited.set_function(lambda: self.model.admitted)
        drawn = Counter("bitmosaic_images_drawn", "Images drawn", registry=self.registry)

        def told(images: int) -> None:
            sizes.observe(images)
            drawn.inc(images)

        self.model.told = told

    def _keep(self, cache: Path | None) -> None:
        """Sets up background work: thumbnails and vectors of bundled images, computed once while the model is idle, then cached."""
        nobody = Job(FOREVER, 0, low=True)
        self.bundles: dict[str, Bundle] = {}
        self.thumbnails: dict[str, Thumbnails] = {}
        for name, pipe in self.pipelines.items():
            kept = DiskCache(None if cache is None else cache / identity(pipe, *self._known[name]))
            guest = self.guest(name, nobody, False)
            self.thumbnails[name] = Thumbnails(guest, kept, lambda: self.errands.wake())
            if isinstance(pipe, TwoStagePipeline):
                of = shipped_name(pipe.image_size, pipe.channels)
                self.bundles[name] = Bundle(guest, of, self.bundled[of], kept, lambda: self.errands.wake())
        self.errands = Errands(*(one.draw for one in self.thumbnails.values()), *(one.look for one in self.bundles.values()))

    def pipeline(self, name: str | None) -> tuple[str, Pipeline]:
        """A pipeline and its name; the first for None. RequestError (422) for an unknown name."""
        name = next(iter(self.pipelines)) if name is None else name
        if name not in self.pipelines:
            raise RequestError(422, f"pipeline: there is no {shown(name)}; give {' or '.join(map(shown, self.pipelines))}")
        return name, self.pipelines[name]

    def check_job(self, name: str | None, job: str) -> None:
        """RequestError (422) where there is no such pipeline, or it cannot do that job."""
        name, pipe = self.pipeline(name)
        if job not in jobs_of(pipe):
            kind = "has classes" if job == "interpolate" else TwoStagePipeline.does
            raise RequestError(422, f"pipeline: {shown(name)} {pipe.does}; {job} needs a pipeline that {kind}")

    def guest(self, name: str | None, job: Job, every: bool) -> Guest:
        """A pipeline for one job; every: as of `Guest`."""
        name, pipeline = self.pipeline(name)
        return guest_of(pipeline, name, self.model, job, every, *self._known[name])

    def admit(self, asked: requests.SamplingRequest) -> Job:
        """A job for a request. RequestError (429) where the queue is full."""
        return self.model.admit(requests.images_of(asked), asked.timeout or self.limits.seconds)

    def check_class(self, name: str, number: int) -> None:
        """RequestError (404) where there is no such class."""
        if name not in self.pipelines or not 0 <= number < len(self.pipelines[name].class_names):
            raise RequestError(404, f"class: got number {number} of pipeline {shown(name)}; GET /v1/pipelines lists those that exist")

    def about(self) -> dict[str, Any]:
        """The answer of GET /v1/pipelines: pipelines, limits, bundled sets, settings and samplers."""
        found = [_about(name, pipe, *self._known[name]) for name, pipe in self.pipelines.items()]
        bundled = {name: len(images) for name, images in self.bundled.items()}
        return {
            "pipelines": found, "limits": asdict(self.limits), "bundled": bundled, "version": __version__,
            "settings": described(), "samplers": described_samplers(),
        }  # fmt: skip

    def told(self, route: str, status: int, seconds: float) -> None:
        """Counts a request in the metrics."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)


def jobs_of(pipe: Pipeline) -> list[str]:
    """The requests that a pipeline can serve."""
    return list(requests.JOBS) if isinstance(pipe, TwoStagePipeline) else ["generate", "interpolate"][: 1 + bool(pipe.class_names)]


def fingerprint(pipe: Pipeline) -> str:
    """Twelve hexadecimal digits of SHA-256 over all weights in memory, so after any conversion of their precision."""
    found = hashlib.sha256()
    for part in pipe.parts.values():
        for name, tensor in part.state_dict().items():
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:12]


def identity(pipe: Pipeline, fingerprint: str, precision: str) -> str:
    """32 hexadecimal digits of SHA-256 over everything that thumbnails and vectors of bundled images depend on."""
    parts = [part.to_json() for part in (*(part.spec for part in pipe.parts.values()), pipe.settings(), BY)]
    return hashlib.sha256(json.dumps([__version__, fingerprint, precision, pipe.device.type, parts]).encode()).hexdigest()[:32]


def _about(name: str, pipe: Pipeline, fingerprint: str, precision: str) -> dict[str, Any]:
    return {
        "name": name, "jobs": jobs_of(pipe), "condition": pipe.reader.kind, "classes": list(pipe.class_names),
        "image_size": list(pipe.image_size), "channels": pipe.channels, **_about_codes(pipe), "sampler": pipe.settings().to_json(),
        "background": "#" + bytes(as_colour(pipe.background)).hex(),
        "fingerprint": fingerprint, "precision": precision, "bundled": shipped_name(pipe.image_size, pipe.channels),
        "tile": name not in zoo_names(),  # shipped pipelines know only whole objects, not parts of a larger picture
        "parameters": parameters_of(*pipe.parts.values()),
    }  # fmt: skip


def _about_codes(pipe: Pipeline) -> dict[str, Any]:
    """What the page needs to know of a pipeline's codes; all null where it has none."""
    if not isinstance(pipe, TwoStagePipeline):
        return dict.fromkeys(("grid", "radix_length", "binary", "layers", "family"))
    return {
        "grid": list(pipe.grid), "radix_length": len(pipe.radix), "binary": set(pipe.radix) == {2}, "layers": len(pipe.prior.blocks),
        "family": pipe.family,
    }  # fmt: skip
