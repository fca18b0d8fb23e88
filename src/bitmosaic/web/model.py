"""One thread that computes for all requests: sampling is batched (`grouping` says how), and short calls run between two of its steps.

The thread's time is shared by weighted fair queueing. A request has weight 1, whatever it asks for; a batch has the sum of its requests'
weights, at most sqrt(images): where batch i of work w_i has weight s_i it takes about w_i / s_i, and the sum of these is least for s_i
proportional to sqrt(w_i). All computation of a request counts, for a stream its entropy maps and pictures of every step too. The account
with the least time per weight is served next; a new one starts at the common virtual clock (WF2Q+, Bennett and Zhang 1997). Background
work (`Job.low`) has weight 1/16, is batched with nothing, and is dropped at shutdown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch

from bitmosaic.samplers import Step
from bitmosaic.web.batch import Batch, Call, SamplingTask
from bitmosaic.web.grouping import Grouping
from bitmosaic.web.job import ClientGone, Job
from bitmosaic.web.limits import RequestError


class Model(Grouping):
    """The model's thread and its queue: a context manager, which starts the thread and at the end finishes what has been asked."""

    def __init__(self, batch: int = 64, wait: float = 0.05, queue: int = 256, threads: int | None = None):
        """batch: images of a full batch. wait: seconds that a request waits for others to be batched with, as `grouping` says. queue:
        images that may be admitted at once. threads: of torch in this thread; None: torch's own number.
        """
        super().__init__(batch, wait)
        self.queue, self._torch_threads = queue, threads
        self.images = self.batches = 0  # drawn so far
        self.seconds = 0.0  # spent on drawing them
        self.told: Callable[[int], None] = lambda images: None  # called after every batch
        self._admitted = 0
        self._calls: list[Call] = []
        self._clock = 0.0  # virtual time, in seconds per weight: new accounts start here
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def __enter__(self) -> Model:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        """Finishes what has been asked, then ends the thread."""
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join()

    @property
    def admitted(self) -> int:
        """Images of all requests that are not answered yet."""
        return self._admitted

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def admit(self, images: int, seconds: float) -> Job:
        """A new job, which must be passed to `leave` at the end. RequestError (429) where the queue is full."""
        with self._change:
            if self._admitted and self._admitted + images > self.queue:
                each = self.seconds / self.images if self.images else 0.1
                after = max(1, round(each * self._admitted))
                what = f"queue: {self._admitted} images are in it, {self.queue} at most may be; try again in {after} seconds"
                raise RequestError(429, what, Retry_After=str(after))
            self._admitted += images
        return Job(seconds, images)

    def leave(self, job: Job) -> None:
        """Ends a job: its images no longer count against the queue."""
        job.gone = True
        with self._change:
            self._admitted -= job.images
            self._back(job)

    def call(self, job: Job, many: Callable[[list], list], item: Any, key: Hashable = None, size: int = 1) -> Any:
        """many([item])[0], computed in the model's thread; waiting calls with equal keys (not None) are one call of `many`.

        size: images in the item, in proportion to which batched calls are charged. Raises what `many` raises, and as `Job.take`.
        """
        call = Call(job, key, many, item, size)
        self._put(call)
        return job.take(call.inbox)

    def complete(self, wanted: SamplingTask) -> Iterator[Step]:
        """The sampling steps of one task; only the last one unless `every` is set. Raises what the sampler raises, and as `Job.take`."""
        self._put(wanted)
        while True:
            step = wanted.job.take(wanted.inbox)
            yield step
            if step.index == step.total:
                return

    def _put(self, what: Call | SamplingTask) -> None:
        with self._change:
            if not self._open:
                raise RequestError(503, "the service is shutting down; try again later")
            what.job.own.used = max(what.job.own.used, self._clock)
            if isinstance(what, Call):
                self._calls.append(what)
            else:
                self._wanted.append(what)
                self._back(what.job)
            self._change.notify()

    def _work(self) -> None:
        if self._torch_threads is not None:
            torch.set_num_threads(self._torch_threads)
        with torch.no_grad():
            while self._wait():
                self._join()
                turn, shares = self._turn()
                started = time.perf_counter()
                if isinstance(turn, Batch):
                    self._go_on(turn)
                elif turn:
                    self._answer(turn)
                self._clock += (time.perf_counter() - started) / shares

    def _turn(self) -> tuple[Batch | list[Call], float]:
        """What is computed next, a step of a batch or calls of one key (none where nothing waits), and the sum of all weights."""
        with self._change:
            if not self._open:
                self._drop()
            self._calls = [call for call in self._calls if not call.job.over]
            accounts = [*(call.job.account for call in self._calls), *(batch.account for batch in self._running)]
            if not accounts:
                return [], 1.0
            shares = sum({id(account): account.share for account in accounts}.values())
            next_ = min(accounts, key=lambda account: (account.used, account.low))
            self._clock = max(self._clock, next_.used)
            first = next((call for call in self._calls if call.job.account is next_), None)
            if first is None:
                return next(batch for batch in self._running if batch.account is next_), shares
            group = [call for call in self._calls if call is first or call.joins(first)]
            self._calls = [call for call in self._calls if call not in group]
            return group, shares

    def _drop(self) -> None:
        """Drops background work, so that shutdown does not wait for it."""
        for what in [*self._calls, *self._wanted, *(part for batch in self._running for part in batch.parts)]:
            if what.job.low:
                what.inbox.put(ClientGone())
        self._calls = [call for call in self._calls if not call.job.low]
        self._wanted = [wanted for wanted in self._wanted if not wanted.job.low]
        self._running = [batch for batch in self._running if not batch.low]

    def _wait(self) -> bool:
        """Waits until there is something to do; False where there never will be, after shutdown."""
        with self._change:
            while self._open and not self._busy():
                self._wanted = [w for w in self._wanted if not w.job.over]
                holds = [(group[0].job.low, hold) for group, hold in self._groups()]
                hold = min(holds, default=(False, None))[1]  # of requests, where there are any, before background work
                if hold is not None and hold <= 0:
                    break
                self._change.wait(hold)
            return bool(self._calls or self._running or self._wanted or self._open)

    def _busy(self) -> bool:
        """Whether something may be computed now; background work may not while a request is about to start."""
        low = not any(not wanted.job.low and not wanted.job.over for wanted in self._wanted)
        return any(low or not call.job.low for call in self._calls) or any(low or not batch.low for batch in self._running)

    def _answer(self, calls: list[Call]) -> None:
        """Computes short calls, and charges each its part of the time."""
        started = time.perf_counter()
        self._answer_together(calls)
        each = (time.perf_counter() - started) / sum(call.size for call in calls)
        for call in calls:
            call.job.account.pay(each * call.size)

    def _answer_together(self, calls: list[Call]) -> None:
        try:
            found = calls[0].many([call.item for call in calls])
        except Exception as error:
            if len(calls) == 1:
                calls[0].inbox.put(error)
            else:  # one of them fails: compute each by itself
                for call in calls:
                    self._answer_together([call])
            return
        for call, one in zip(calls, found, strict=True):
            call.inbox.put(one)

    def _join(self) -> None:
        """Starts batches of the tasks that have waited long enough."""
        while True:
            with self._change:
                self._wanted = [w for w in self._wanted if not w.job.over]
                group = self._next_group()
                self._wanted = [w for w in self._wanted if w not in group]
            if not group:
                return
            try:
                batch = Batch(group, min(part.job.own.used for part in group))
            except Exception as error:
                for part in group:
                    part.inbox.put(error)
                continue
            self._running.append(batch)
            for part in group:
                part.job.account = batch.account

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
            self._end(batch)
            self.told(batch.images)
            self.images, self.batches = self.images + batch.images, self.batches + 1

    def _end(self, batch: Batch) -> None:
        """Ends a batch: its jobs are charged on their own accounts again, from the batch's time on."""
        with self._change:
            self._running.remove(batch)
            for part in batch.parts:
                part.job.account = part.job.own
                part.job.own.used = max(part.job.own.used, batch.account.used)
        if not batch.low:
            self._wait_for(batch)

