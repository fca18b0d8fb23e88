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
    """uvicorn's server, which would take the second Ctrl-C for an error, and wait for threads that work for nobody."""

    told: int | None = None  # the first signal that told it to end

    def take_signals(self) -> None:
        """From now to the very end: a Ctrl-C while the event loop is made, or while Python ends, must not become a traceback."""
        for handled in HANDLED_SIGNALS:
            signal.signal(handled, self.handle_exit)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are ours already."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        running = len(self.server_state.tasks)
        requests = f"{running} request{'s' * (running != 1)}"
        if self.should_exit and sig != signal.SIGTERM:  # files are written beside and renamed, uploads have no name: nothing to clean up
            _tell(f"ended at once{f'; {requests} cut off' * (running > 0)}")
            os._exit(INTERRUPTED)
        if running:
            _tell(f"ends when {requests} {'are' if running != 1 else 'is'} answered; Ctrl-C ends it at once")
        self.told, self.should_exit = self.told or sig, True

    def end(self) -> None:
        """Ends the process as whoever told it to expects, once all is done: status 130 after Ctrl-C, else by the signal itself."""
        if self.told == signal.SIGTERM:
            signal.signal(self.told, signal.SIG_DFL)
            signal.raise_signal(self.told)
        elif self.told is not None:
            raise SystemExit(INTERRUPTED)


def _tell(line: str) -> None:
    """On stderr, past its buffers: this runs in the middle of anything."""
    os.write(2, f"\nbitmosaic studio: {line}\n".encode())
