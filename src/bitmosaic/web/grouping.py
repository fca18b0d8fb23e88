"""What waits to be drawn together: which of it begins when, by what runs and by who may ask again.

A batch changes no image, since every image has a generator of its own. A full batch begins at once. Less waits a moment where nothing runs.
Where a batch of several requests has just ended it waits until those are answered and nobody has asked or been answered for a while, since
who is answered may ask again; at most a tenth of the time that the batch took, or `wait` if that is more, and never over four times `wait`.
Beside a batch of its kind a few images wait for `wait` seconds, beside several four times as long, and more than a few until those have
ended: few large batches take less time than many small ones.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

from bitmosaic.web.batch import Batch, SamplingTask
from bitmosaic.web.job import Job

AT_ONCE = 0.005  # seconds between requests that come at the same moment,
SOON = 0.01  # or, after a batch, this part of the time that it took
BACK = 0.1  # the part of the time that a batch took in which those who were in it may ask again: `wait` at least,
LONGEST = 4  # and at most so many times `wait`, as beside several batches of the same kind
FEW = 8  # a group of no more than this part of a batch need not wait for others of its kind


class Grouping:
    """What is wanted and what runs, under the condition `_change`."""

    def __init__(self, batch: int, wait: float):
        self.batch, self.wait = batch, wait
        self._wanted: list[SamplingTask] = []
        self._running: list[Batch] = []
        self._change = threading.Condition()
        self._leaving: list[Job] = []  # of the batch that ended last, those that are not answered yet
        self._back_by = self._stirred = 0.0  # how long those are waited for; when somebody asked or was answered last
        self._quiet = AT_ONCE  # seconds without either after which nobody else will ask
        self._open = True

    def _next_group(self) -> list[SamplingTask]:
        """Those that begin now."""
        return next((group for group, hold in self._groups() if hold <= 0 or not self._open), [])

    def _groups(self) -> Iterator[tuple[list[SamplingTask], float]]:
        """For each that has waited longest of its kind, all that fit to it, up to a batch, and the seconds that they wait yet."""
        running = [batch for batch in self._running if not batch.low]
        room, seen = 2 * self.batch - sum(batch.images for batch in running), set()
        for first in sorted(self._wanted, key=lambda wanted: wanted.job.low):
            if running and room < len(first.codes):
                return  # smaller ones behind it would take its room for ever
            if first.alone or first.job.low:
                yield [first], 0.0
            elif first.key not in seen:
                seen.add(first.key)
                group = self._with(first, min(self.batch, room))
                yield group, self._hold(group)

    def _hold(self, group: list[SamplingTask]) -> float:
        """Seconds that they wait yet for more to join; the module says why."""
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
        """It and those that may be joined to it, in the order in which they came."""
        group, images = [first], len(first.codes)
        for wanted in self._wanted:
            alone = wanted.alone or wanted.job.low
            if wanted is not first and wanted.key == first.key and not alone and images + len(wanted.codes) <= room:
                group, images = [*group, wanted], images + len(wanted.codes)
        return group

    def _back(self, job: Job) -> None:
        """It is answered, or asks for more."""
        self._stirred = time.monotonic()
        if job in self._leaving:
            self._leaving.remove(job)
            if not self._leaving:
                self._change.notify()

    def _wait_for(self, batch: Batch) -> None:
        """Those who were in a batch may ask again."""
        several = len(batch.parts) > 1
        with self._change:
            asking = [wanted.job for wanted in self._wanted]  # already: their last step was told before the batch was over
            self._leaving = [part.job for part in batch.parts if not part.job.gone and part.job not in asking] if several else []
            self._quiet = max(AT_ONCE, SOON * batch.seconds)
            self._back_by = time.monotonic() + min(LONGEST * self.wait, max(self.wait, BACK * batch.seconds)) * several
