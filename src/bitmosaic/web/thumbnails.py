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
MOST = 8  # drawn at once
WANTED = 64  # that may be waited for
AGAIN = 60.0  # seconds after which one that could not be drawn is tried again


class Thumbnails:
    """PNG files of the classes, by the model's own settings from seed 0."""

    def __init__(self, guest: Guest, kept: DiskCache, wake: Callable[[], None]):
        """guest: whose job gives way to others; wake: called when there is something to draw."""
        self._guest, self._kept, self._wake = guest, kept, wake
        self._made: dict[int, bytes] = {}
        self._wanted: dict[int, None] = {}  # in this order
        self._failed: dict[int, float] = {}  # when
        self._size, self._each, self._lock = 1, 1.0, threading.Lock()  # drawn at once; seconds that one took

    def get(self, number: int) -> bytes | int:
        """The file, or, if there is none yet, in how many seconds to ask again. Refused (503) for one that could not be drawn."""
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
        """Draws those that were asked for first; False where there are none."""
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
