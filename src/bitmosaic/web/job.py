"""A request in progress: what it waits for, its time limit, and whether its client is still connected."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from bitmosaic.web.limits import RequestError

LOW = 1 / 16  # of a share of the model's time has what nobody waits for


@dataclass
class Account:
    """What somebody has had of the model's time, on a clock that all accounts have in common (`Model`)."""

    share: float
    low: bool = False
    used: float = 0.0  # seconds for each share

    def pay(self, seconds: float) -> None:
        self.used += seconds / self.share


class ClientGone(Exception):
    """The client of a job has gone away."""


class Job:
    """One request: how long it may take, and whether somebody still wants it. It asks for one thing at a time."""

    def __init__(self, seconds: float, images: int, low: bool = False):
        """low: nobody waits for it, so that it gives way to whatever somebody waits for."""
        self.images, self.low, self.gone = images, low, False
        self.account = self.own = Account(LOW if low else 1.0, low)  # where it pays: with the batch that it is in, else by itself
        self._ends, self._seconds, self._inbox = time.monotonic() + seconds, seconds, None

    def left(self) -> float:
        """Seconds; Gone or Refused where there are none."""
        left = self._ends - time.monotonic()
        if self.gone:
            raise ClientGone
        if left <= 0:
            what = f"timeout: this took more than {self._seconds:g} seconds"
            raise RequestError(408, f"{what}; ask for fewer images or steps, or for more time")
        return left

    @property
    def over(self) -> bool:
        """Whether there is no need to go on."""
        return self.gone or time.monotonic() >= self._ends

    def take(self, inbox: SimpleQueue) -> Any:
        """What comes next; what the model raised is raised here."""
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
        """Nobody wants it any more: whoever waits for it is woken, and it stands in no queue."""
        self.gone = True
        if self._inbox is not None:
            self._inbox.put(None)
