"""Batching of sampling tasks: which waiting tasks start together, and when.

A batch changes no image, since every image has its own generator. A full batch starts at once. A smaller one waits for `AT_ONCE` seconds
where nothing runs. Where a batch of several requests has just ended, it waits until those are answered and nobody has asked or been
answered for a while, since their clients may ask again: at most a tenth of the time that the batch took, or `wait` if that is more, and
never over four times `wait`. While a batch of the same kind runs, a few images wait for `wait` seconds, while several run, four times as
long, and more than a few images until those have ended: few large batches take less time than many small ones.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

from bitmosaic.web.batch import Batch, SamplingTask
from bitmosaic.web.job import Job

AT_ONCE = 0.005  # requests fewer seconds apart count as simultaneous;
SOON = 0.01  # after a batch, those less than this fraction of its time apart
BACK = 0.1  # the fraction of a batch's time for which its clients may ask again: at least `wait`,
LONGEST = 4  # at most so many times `wait`, which is also the wait beside several batches of the same kind
FEW = 8  # a group of at most 1 / FEW of a full batch need not wait for running ones of its kind


class Grouping:
    """The waiting tasks and the running batches, guarded by the condition variable `_change`."""

    def __init__(self, batch: int, wait: float):
        self.batch, self.wait = batch, wait
        self._wanted: list[SamplingTask] = []
        self._running: list[Batch] = []
        self._change = threading.Condition()
        self._leaving: list[Job] = []  # jobs of the last batch that are not answered yet
        self._back_by = self._stirred = 0.0  # until when their clients may ask again; when a request last came or was answered
        self._quiet = AT_ONCE  # seconds without either after which no further request is expected
        self._open = True

    def _next_group(self) -> list[SamplingTask]:
        """The tasks of the batch that starts now; none where all wait."""
        return next((group for group, hold in self._groups() if hold <= 0 or not self._open), [])

    def _groups(self) -> Iterator[tuple[list[SamplingTask], float]]:
        """For each kind, the tasks that may start as one batch, oldest first, and for how many more seconds they wait."""
        running = [batch for batch in self._running if not batch.low]
        room, seen = 2 * self.batch - sum(batch.images for batch in running), set()
        for first in sorted(self._wanted, key=lambda wanted: wanted.job.low):
            if running and room < len(first.codes):
                return  # or smaller tasks behind it would take its room for ever
            if first.alone or first.job.low:
                yield [first], 0.0
            elif first.key not in seen:
                seen.add(first.key)
                group = self._with(first, min(self.batch, room))
                yield group, self._hold(group)

    def _hold(self, group: list[SamplingTask]) -> float:
        """Seconds for which a group still waits for more tasks; the module's docstring has the rules."""
        now, images = time.monotonic(), sum(len(wanted.codes) for wanted in group)
        waited = now - group[0].since
        running = [batch.parts[0].key for batch in self._running if not batch.low]
        alike = sum(key == group[0].key for key in running)
        if images >= self.batch:
            return 0.0
        if not running:
            back = self._back_by if self._leaving else min(self._back_by, self._stirred + self._quiet)
            return max(min(self.wait, AT_ONCE) - waited, back - now)
        if alike and images * FEW > self.batch:
            return math.inf
        return self.wait * (LONGEST if alike > 1 else 1) - waited

    def _with(self, first: SamplingTask, room: int) -> list[SamplingTask]:
        """`first` and the tasks that may be batched with it, up to `room` images, in order of arrival."""
        group, images = [first], len(first.codes)
        for wanted in self._wanted:
            alone = wanted.alone or wanted.job.low
            if wanted is not first and wanted.key == first.key and not alone and images + len(wanted.codes) <= room:
                group, images = [*group, wanted], images + len(wanted.codes)
        return group

    def _back(self, job: Job) -> None:
        """Notes that a job is answered, or asks for more."""
        self._stirred = time.monotonic()
        if job in self._leaving:
            self._leaving.remove(job)
            if not self._leaving:
                self._change.notify()

    def _wait_for(self, batch: Batch) -> None:
        """Sets how long the clients of a batch that has ended are waited for, since they may ask again."""
        several = len(batch.parts) > 1
        with self._change:
            asking = [wanted.job for wanted in self._wanted]  # again already: their last step was reported before the batch ended
            self._leaving = [part.job for part in batch.parts if not part.job.gone and part.job not in asking] if several else []
            self._quiet = max(AT_ONCE, SOON * batch.seconds)
            self._back_by = time.monotonic() + min(LONGEST * self.wait, max(self.wait, BACK * batch.seconds)) * several
