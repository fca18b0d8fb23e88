"""A request in progress: what it waits for, its time limit, and whether its client is still connected."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from bitmosaic.web.limits import RequestError

LOW = 1 / 16  # the share of the model's time of background work; a request has 1


@dataclass
class Account:
    """The model's time used by a job or a batch, on the virtual clock that all accounts share (`Model`)."""

    share: float
    low: bool = False
    used: float = 0.0  # seconds, divided by the share

    def pay(self, seconds: float) -> None:
        self.used += seconds / self.share


class ClientGone(Exception):
    """The client of a job has disconnected."""


class Job:
    """One request: its time limit, and whether its client is still connected. It waits for one result at a time."""

    def __init__(self, seconds: float, images: int, low: bool = False):
        """seconds: its time limit. images: of which it is one request. low: background work, which gives way to requests."""
        self.images, self.low, self.gone = images, low, False
        self.account = self.own = Account(LOW if low else 1.0, low)  # charged: that of its batch, else its own
        self._ends, self._seconds, self._inbox = time.monotonic() + seconds, seconds, None

    def left(self) -> float:
        """Seconds until its time limit. ClientGone where the client has disconnected, RequestError (408) where the time is over."""
        left = self._ends - time.monotonic()
        if self.gone:
            raise ClientGone
        if left <= 0:
            what = f"timeout: this took more than {self._seconds:g} seconds"
            raise RequestError(408, f"{what}; ask for fewer images or steps, or for more time")
        return left

    @property
    def over(self) -> bool:
        """Whether its client has disconnected or its time is over."""
        return self.gone or time.monotonic() >= self._ends

    def take(self, inbox: SimpleQueue) -> Any:
        """The next result in the inbox. Raises what the model raised, and as `left` does."""
        self._inbox = inbox
        found = None
        while found is None:
            with suppress(Empty):
                found = inbox.get(timeout=self.left())
            self.left()  # raises where the job is over
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self) -> None:
        """Marks its client as gone, and wakes the thread that waits in `take`."""
        self.gone = True
        if self._inbox is not None:
            self._inbox.put(None)
