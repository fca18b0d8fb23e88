"""Background work, in one thread and in small slices, while the model is idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bitmosaic.web.job import ClientGone
from bitmosaic.web.limits import RequestError

LOG = logging.getLogger("bitmosaic.studio")
SLICE = 0.1  # seconds of the model's time that a slice should take: as long others wait for it, in the worst case


class Errands:
    """Some errands, the first of them first. An errand does one slice when it is called, and tells whether there was anything to do."""

    def __init__(self, *errands: Callable[[], bool]):
        self._errands, self._lock = errands, threading.Lock()
        self._called, self._runs, self._thread = False, False, None

    def wake(self) -> None:
        """There is something to do."""
        with self._lock:
            self._called = True
            if not self._runs:
                self._runs = True
                self._thread = threading.Thread(target=self._run, name="errands", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Until the slice that runs is over; after the model's end none follows. A thread inside torch can break the process's end."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._called = False
            try:
                more = any(errand() for errand in self._errands)
            except (ClientGone, RequestError):  # the service is shutting down
                more = False
            except Exception:
                LOG.exception("an errand failed")
                more = False
            with self._lock:
                if not (more or self._called):
                    self._runs = False
                    return


def next_size(size: int, took: float, most: int) -> int:
    """How many things a slice should have, where `size` of them took so many seconds; at most twice as many."""
    return max(1, min(most, 2 * size, int(size * SLICE / max(took, 1e-9))))
