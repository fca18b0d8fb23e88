"""Thumbnails of the classes of a pipeline: drawn in the background while the model is idle, and cached on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from bitmosaic.web.errands import next_size
from bitmosaic.web.guest import Guest
from bitmosaic.web.job import ClientGone
from bitmosaic.web.kept import DiskCache
from bitmosaic.web.limits import RequestError
from bitmosaic.web.pictures import encoded

LOG = logging.getLogger("bitmosaic.studio")
MOST = 8  # drawn in one batch
WANTED = 64  # length of the queue
AGAIN = 60.0  # seconds after which one that could not be drawn is tried again


class Thumbnails:
    """PNG files of the classes, drawn with the pipeline's own settings from seed 0."""

    def __init__(self, guest: Guest, kept: DiskCache, wake: Callable[[], None]):
        """guest: whose job is background work; wake: called when there is something to draw."""
        self._guest, self._kept, self._wake = guest, kept, wake
        self._made: dict[int, bytes] = {}
        self._wanted: dict[int, None] = {}  # the queue, in order
        self._failed: dict[int, float] = {}  # when drawing them failed
        self._size, self._each, self._lock = 1, 1.0, threading.Lock()  # size of the next batch; seconds that an image took

    def get(self, number: int) -> bytes | int:
        """The PNG file, or the seconds after which to ask again where it is not drawn yet. RequestError (503) where drawing failed."""
        if number in self._made:
            return self._made[number]
        if (found := self._kept.read(_name(number))) is not None:
            self._made[number] = found
            return found
        with self._lock:
            if time.monotonic() - self._failed.get(number, -AGAIN) < AGAIN:
                raise RequestError(503, "this thumbnail could not be drawn; the log says why; try again later", Retry_After=str(int(AGAIN)))
            if len(self._wanted) < WANTED:
                self._wanted.setdefault(number)
            before = list(self._wanted).index(number) if number in self._wanted else WANTED
        self._wake()
        return max(1, min(30, round(self._each * (before + 1))))

    def draw(self) -> bool:
        """Draws one batch of the queue; False where it is empty."""
        with self._lock:
            numbers = list(self._wanted)[: self._size]
        if not numbers:
            return False
        start, rounds = time.monotonic(), []
        try:
            images = self._guest(numbers, [0] * len(numbers), output_type="pt", callback_on_step_end=lambda step: rounds.append(step.total))
        except (ClientGone, RequestError):
            raise
        except Exception:
            LOG.exception("thumbnails of %s could not be drawn", self._guest.name)
            self._failed |= dict.fromkeys(numbers, time.monotonic())
        else:
            for number, image in zip(numbers, images, strict=True):
                self._made[number] = encoded(image)
                self._kept.write(_name(number), self._made[number])
        took = time.monotonic() - start
        with self._lock:
            self._each = took / len(numbers)
            self._size = next_size(len(numbers), took / max([1, *rounds]), MOST)
            for number in numbers:
                del self._wanted[number]
        return True


def _name(number: int) -> str:
    return f"class-{number}"
