"""One thread that computes for all requests: what waits is joined, and between two rounds of sampling it does what else is asked.

A batch changes no image, since every image has a generator of its own. A full batch begins at once. Less waits a moment where nothing
runs, and a little longer where a batch of several requests has just ended, since who is answered may ask again. Beside batches of its
kind a few images wait for `wait` seconds, four times as long for every further one, and more than a few until those have ended: few
large batches take less time than many small ones. Those that run share the time by sqrt(images), so that a single image does not wait
for sixty-four: each of n batches of work w_i that gets the share s_i takes w_i / s_i, and the sum of these is least at s_i ~ sqrt(w_i).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.samplers import Step
from bitmosaic.web.job import Job
from bitmosaic.web.limits import Refused

AT_ONCE = 0.005  # seconds between requests that come at the same moment
FEW = 8  # a group of no more than this part of a batch need not wait for others of its kind
Ask = Callable[[Codes, Tensor, Tensor | None, list[torch.Generator]], Iterator[Step]]  # a sampler with its prior


@dataclass(eq=False)
class Call:
    """Something short to compute; calls of the same key are done together."""

    job: Job
    key: Hashable
    many: Callable[[list], list]
    item: Any
    inbox: SimpleQueue = field(default_factory=SimpleQueue)


@dataclass(eq=False)
class Wanted:
    """Places that a sampler is to fill."""

    job: Job
    key: Hashable  # what may be joined has the same
    ask: Ask
    codes: Codes
    known: Tensor
    labels: Tensor | None
    generators: list[torch.Generator]
    every: bool = True  # whether each step is told, or the last one only
    alone: bool = False
    told: int = 0  # steps, which are not told again where a batch that failed begins anew
    since: float = field(default_factory=time.monotonic)
    inbox: SimpleQueue = field(default_factory=SimpleQueue)


class Batch:
    """Some that are filled together, round by round."""

    def __init__(self, parts: list[Wanted], used: float):
        self.parts, self.used = parts, used  # seconds of the model thread for each of its shares, from that of the others on
        self.images, self.seconds = sum(len(part.codes) for part in parts), 0.0
        labels = None if parts[0].labels is None else torch.cat([part.labels for part in parts])
        codes = Codes(torch.cat([part.codes.digits for part in parts]), parts[0].codes.radix)
        generators = [rng for part in parts for rng in part.generators]
        self._states = [rng.get_state() for rng in generators] if len(parts) > 1 else []
        self._steps = parts[0].ask(codes, torch.cat([part.known for part in parts]), labels, generators)

    def round(self) -> bool:
        """One more; whether there are further ones that somebody wants."""
        started = time.perf_counter()
        step = next(self._steps)
        took = time.perf_counter() - started
        self.seconds, self.used = self.seconds + took, self.used + took / math.sqrt(self.images)
        start = 0
        for part in self.parts:
            own = slice(start, start := start + len(part.codes))
            if step.index > part.told and (part.every or step.index == step.total):
                part.inbox.put(Step(step.index, step.total, step.codes[own], step.known[own], step.entropy[own]))
                part.told = step.index
        if step.index == step.total or all(part.job.over for part in self.parts):
            self._steps.close()
            return False
        return True

    def failed(self, error: Exception) -> list[Wanted]:
        """Those to try again one by one, from where they began; one that was alone is told."""
        if len(self.parts) == 1:
            self.parts[0].inbox.put(error)
            return []
        states = iter(self._states)
        for part in self.parts:
            part.alone = True
            for rng in part.generators:
                rng.set_state(next(states))
        return self.parts


class Model:
    """The thread, what waits for it, and what it has done. Use it in a `with`."""

    def __init__(self, batch: int = 64, wait: float = 0.05, queue: int = 256, threads: int | None = None):
        """batch: images in one batch; wait: seconds that a request waits for others to join, as the module says; queue: images that
        may wait in all; threads: of torch, None: as they are.
        """
        self.batch, self.wait, self.queue, self._torch_threads = batch, wait, queue, threads
        self.images = self.batches = 0  # done so far
        self.seconds = 0.0  # of drawing them
        self.told: Callable[[int], None] = lambda images: None  # of every batch that is over
        self._admitted = 0
        self._calls: list[Call] = []
        self._wanted: list[Wanted] = []
        self._running: list[Batch] = []
        self._change = threading.Condition()
        self._back_by = 0.0  # when those who have been answered together may have asked again
        self._open = True
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def __enter__(self) -> Model:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        """Ends after what is asked so far."""
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join()

    @property
    def admitted(self) -> int:
        """Images that are waited for."""
        return self._admitted

    @property
    def alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def admit(self, images: int, seconds: float) -> Job:
        """A job, which must be given to `leave` at the end. Refused (429) where too much is waited for already."""
        with self._change:
            if self._admitted and self._admitted + images > self.queue:
                each = self.seconds / self.images if self.images else 0.1
                after = max(1, round(each * self._admitted))
                raise Refused(429, f"{self._admitted} images are waited for already; try again in {after} seconds", Retry_After=str(after))
            self._admitted += images
        return Job(seconds, images)

    def leave(self, job: Job) -> None:
        """The job is over: its place is free."""
        job.gone = True
        with self._change:
            self._admitted -= job.images

    def call(self, job: Job, many: Callable[[list], list], item: Any, key: Hashable = None) -> Any:
        """many([item])[0], computed in the model thread; calls that wait with equal keys (not None) are done as one."""
        call = Call(job, key, many, item)
        self._put(self._calls, call)
        return job.take(call.inbox)

    def complete(self, wanted: Wanted) -> Iterator[Step]:
        """The steps of a sampler, of these images alone; the last one only where `every` is not set."""
        self._put(self._wanted, wanted)
        while True:
            step = wanted.job.take(wanted.inbox)
            yield step
            if step.index == step.total:
                return

    def _put(self, where: list, what: Any) -> None:
        with self._change:
            if not self._open:
                raise Refused(503, "the service is shutting down; try again later")
            where.append(what)
            self._change.notify()

    def _work(self) -> None:
        if self._torch_threads is not None:
            torch.set_num_threads(self._torch_threads)
        with torch.no_grad():
            while self._wait():
                self._answer()
                self._join()
                if self._running:
                    self._go_on(min(self._running, key=lambda batch: batch.used))

    def _wait(self) -> bool:
        """Until there is something to do; False when there will not be."""
        with self._change:
            while self._open and not (self._calls or self._running):
                self._wanted = [w for w in self._wanted if not w.job.over]
                hold = min((hold for _, hold in self._groups()), default=None)
                if hold is not None and hold <= 0:
                    break
                self._change.wait(hold)
            return bool(self._calls or self._running or self._wanted or self._open)

    def _answer(self) -> None:
        """All that is short."""
        with self._change:
            calls, self._calls = self._calls, []
        groups: dict[Hashable, list[Call]] = {}
        for call in calls:
            if not call.job.over:
                groups.setdefault(id(call) if call.key is None else call.key, []).append(call)
        for group in groups.values():
            self._answer_together(group)

    def _answer_together(self, calls: list[Call]) -> None:
        try:
            found = calls[0].many([call.item for call in calls])
        except Exception as error:
            if len(calls) == 1:
                calls[0].inbox.put(error)
            else:  # one spoils it for the others: each by itself
                for call in calls:
                    self._answer_together([call])
            return
        for call, one in zip(calls, found, strict=True):
            call.inbox.put(one)

    def _join(self) -> None:
        """Begins batches of those that have waited long enough."""
        while True:
            with self._change:
                self._wanted = [w for w in self._wanted if not w.job.over]
                group = self._next_group()
                self._wanted = [w for w in self._wanted if w not in group]
            if not group:
                return
            used = min((batch.used for batch in self._running), default=0.0)
            try:
                batch = Batch(group, used)
            except Exception as error:
                for part in group:
                    part.inbox.put(error)
                continue
            self._running.append(batch)

    def _next_group(self) -> list[Wanted]:
        """Those that begin now."""
        return next((group for group, hold in self._groups() if hold <= 0 or not self._open), [])

    def _groups(self) -> Iterator[tuple[list[Wanted], float]]:
        """For each that has waited longest of its kind, all that fit to it, up to a batch, and the seconds that they wait yet."""
        room, seen = 2 * self.batch - sum(batch.images for batch in self._running), set()
        for first in self._wanted:
            if self._running and room < len(first.codes):
                return  # smaller ones behind it would take its room for ever
            if first.alone or first.key not in seen:
                seen.add(first.key)
                group = self._with(first, min(self.batch, room))
                yield group, self._hold(group)

    def _hold(self, group: list[Wanted]) -> float:
        """Seconds that they wait yet for more to join; the module says why."""
        now, images = time.monotonic(), sum(len(wanted.codes) for wanted in group)
        waited = now - group[0].since
        alike = sum(batch.parts[0].key == group[0].key for batch in self._running)
        if images >= self.batch or group[0].alone:
            return 0.0
        if not self._running:
            return max(min(self.wait, AT_ONCE) - waited, self._back_by - now)
        if alike and images * FEW > self.batch:
            return math.inf
        return self.wait * 4 ** max(0, alike - 1) - waited

    def _with(self, first: Wanted, room: int) -> list[Wanted]:
        """It and those that may be joined to it, in the order in which they came."""
        group, images = [first], len(first.codes)
        for wanted in [] if first.alone else self._wanted:
            if wanted is not first and wanted.key == first.key and not wanted.alone and images + len(wanted.codes) <= room:
                group, images = [*group, wanted], images + len(wanted.codes)
        return group

    def _go_on(self, batch: Batch) -> None:
        before = batch.seconds
        try:
            more = batch.round()
        except Exception as error:
            with self._change:
                self._wanted = [*batch.failed(error), *self._wanted]
            more = False
        self.seconds += batch.seconds - before
        if not more:
            self._running.remove(batch)
            self._back_by = time.monotonic() + self.wait * (len(batch.parts) > 1)
            self.told(batch.images)
            self.images, self.batches = self.images + batch.images, self.batches + 1
