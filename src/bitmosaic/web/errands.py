"""Background work, in one thread and in small slices, while the model is idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bitmosaic.web.job import ClientGone
from bitmosaic.web.limits import RequestError

LOG = logging.getLogger("bitmosaic.studio")
SLICE = 0.1  # seconds of the model's time that a slice should take, which is how long requests wait for it at worst


class Errands:
    """Background tasks in order of priority. Each call of one does one slice, and returns whether there was anything to do."""

    def __init__(self, *errands: Callable[[], bool]):
        self._errands, self._lock = errands, threading.Lock()
        self._called, self._runs, self._thread = False, False, None

    def wake(self) -> None:
        """Starts the thread where it does not run: there is something to do."""
        with self._lock:
            self._called = True
            if not self._runs:
                self._runs = True
                self._thread = threading.Thread(target=self._run, name="errands", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Waits for the current slice; none follows once the model's thread has ended. A process that exits while a thread is inside
        torch can crash.
        """
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
    """The number of items of the next slice, where `size` of them took `took` seconds: at most `most`, and at most twice `size`."""
    return max(1, min(most, 2 * size, int(size * SLICE / max(took, 1e-9))))
