"""One thread that computes for all requests: waiting work is batched, and short calls run between two rounds of sampling.

When what waits begins, and with what else, `grouping` says.

Requests share the time: one share each, whatever they ask for; those that are drawn together have the sum of theirs, sqrt(images) at most,
since each of n batches of work w_i that gets the share s_i takes w_i / s_i, and the sum of these is least at s_i ~ sqrt(w_i). All that is
computed for a request counts, for a stream its maps and pictures of every step too. Whoever has had the least for each of its shares is
next; who comes begins where those are who had just their share (the clock of WF2Q+, Bennett and Zhang 1997). What nobody waits for
(`Job.low`) has a sixteenth of a share, is joined with nothing, and is dropped at the end.
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
    """The thread, what waits for it, and what it has done. Use it in a `with`."""

    def __init__(self, batch: int = 64, wait: float = 0.05, queue: int = 256, threads: int | None = None):
        """batch: images in one batch; wait: seconds that a request waits for others to join, as `grouping` says; queue: images that
        may wait in all; threads: of torch, None: as they are.
        """
        super().__init__(batch, wait)
        self.queue, self._torch_threads = queue, threads
        self.images = self.batches = 0  # done so far
        self.seconds = 0.0  # of drawing them
        self.told: Callable[[int], None] = lambda images: None  # of every batch that is over
        self._admitted = 0
        self._calls: list[Call] = []
        self._clock = 0.0  # seconds that each share has had of the time so far: those who come begin here
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
                what = f"{self._admitted} images are waited for already; try again in {after} seconds"
                raise RequestError(429, what, Retry_After=str(after))
            self._admitted += images
        return Job(seconds, images)

    def leave(self, job: Job) -> None:
        """The job is over: its place is free."""
        job.gone = True
        with self._change:
            self._admitted -= job.images
            self._back(job)

    def call(self, job: Job, many: Callable[[list], list], item: Any, key: Hashable = None, size: int = 1) -> Any:
        """many([item])[0], computed in the model thread; calls that wait with equal keys (not None) are done as one.

        size: images in it, by which those that are done as one share what it takes.
        """
        call = Call(job, key, many, item, size)
        self._put(call)
        return job.take(call.inbox)

    def complete(self, wanted: SamplingTask) -> Iterator[Step]:
        """The steps of a sampler, of these images alone; the last one only where `every` is not set."""
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
        """Whose turn it is, a batch, or calls that are done as one, none where nothing is left to do; and the shares of all who wait."""
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
        """What nobody waits for: the end need not wait for it either."""
        for what in [*self._calls, *self._wanted, *(part for batch in self._running for part in batch.parts)]:
            if what.job.low:
                what.inbox.put(ClientGone())
        self._calls = [call for call in self._calls if not call.job.low]
        self._wanted = [wanted for wanted in self._wanted if not wanted.job.low]
        self._running = [batch for batch in self._running if not batch.low]

    def _wait(self) -> bool:
        """Until there is something to do; False when there will not be."""
        with self._change:
            while self._open and not self._busy():
                self._wanted = [w for w in self._wanted if not w.job.over]
                holds = [(group[0].job.low, hold) for group, hold in self._groups()]
                hold = min(holds, default=(False, None))[1]  # of what somebody waits for, where there is any
                if hold is not None and hold <= 0:
                    break
                self._change.wait(hold)
            return bool(self._calls or self._running or self._wanted or self._open)

    def _busy(self) -> bool:
        """Whether something may be done now: what nobody waits for may not, where somebody's turn comes in a moment."""
        low = not any(not wanted.job.low and not wanted.job.over for wanted in self._wanted)
        return any(low or not call.job.low for call in self._calls) or any(low or not batch.low for batch in self._running)

    def _answer(self, calls: list[Call]) -> None:
        """Something short, which those pay who asked for it."""
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
        """Those who were in it pay by themselves again, from what they have had on."""
        with self._change:
            self._running.remove(batch)
            for part in batch.parts:
                part.job.account = part.job.own
                part.job.own.used = max(part.job.own.used, batch.account.used)
        if not batch.low:
            self._wait_for(batch)

