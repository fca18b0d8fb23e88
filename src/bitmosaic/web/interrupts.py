"""On SIGTERM or Ctrl-C the server finishes its requests; on a second Ctrl-C it ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

INTERRUPTED = 130  # the exit status after Ctrl-C


class Interruptible(uvicorn.Server):
    """uvicorn's server, which by itself treats a second Ctrl-C as an error, and waits for threads whose clients are gone."""

    told: int | None = None  # the first signal that asked it to end

    def take_signals(self) -> None:
        """Handles signals from now until the process ends: a Ctrl-C while the event loop starts or Python exits is no traceback."""
        for handled in HANDLED_SIGNALS:
            signal.signal(handled, self.handle_exit)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: `take_signals` has installed the handlers."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        running = len(self.server_state.tasks)
        requests = f"{running} request{'s' * (running != 1)}"
        if self.should_exit and sig != signal.SIGTERM:  # files are renamed into place, uploads are unnamed: nothing to clean up
            _tell(f"ended at once{f'; {requests} cut off' * (running > 0)}")
            os._exit(INTERRUPTED)
        if running:
            _tell(f"ends when {requests} {'are' if running != 1 else 'is'} answered; Ctrl-C ends it at once")
        self.told, self.should_exit = self.told or sig, True

    def end(self) -> None:
        """Ends the process by convention: exit status 130 after Ctrl-C, death by the signal itself after SIGTERM."""
        if self.told == signal.SIGTERM:
            signal.signal(self.told, signal.SIG_DFL)
            signal.raise_signal(self.told)
        elif self.told is not None:
            raise SystemExit(INTERRUPTED)


def _tell(line: str) -> None:
    """Writes a line to stderr, unbuffered: a signal handler may interrupt any other write."""
    os.write(2, f"\nbitmosaic studio: {line}\n".encode())
