"""Told to end, the server finishes what it has; by a second Ctrl-C it ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

import uvicorn

INTERRUPTED = 130  # the exit status after Ctrl-C


class Interruptible(uvicorn.Server):
    """uvicorn's server, which would take the second Ctrl-C for an error, and wait for threads that work for nobody."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        running = len(self.server_state.tasks)
        requests = f"{running} request{'s' * (running != 1)}"
        if self.should_exit and sig != signal.SIGTERM:  # files are written beside and renamed, uploads have no name: nothing to clean up
            _tell(f"ended at once{f'; {requests} cut off' * (running > 0)}")
            os._exit(INTERRUPTED)
        if running:
            _tell(f"ends when {requests} {'are' if running != 1 else 'is'} answered; Ctrl-C ends it at once")
        super().handle_exit(sig, frame)


def _tell(line: str) -> None:
    """On stderr, past its buffers: this runs in the middle of anything."""
    os.write(2, f"\nbitmosaic studio: {line}\n".encode())
