"""The studio's server: uvicorn with time limits for slow clients, a limit on headers, and a shutdown that finishes running requests."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from bitmosaic.web.connections import TimedProtocol
from bitmosaic.web.interrupts import Interruptible
from bitmosaic.web.limits import Limits


def server_of(app: ASGIApp, limits: Limits) -> Interruptible:
    """A server that handles signals from now on; `run` serves until one comes, then `end` ends the process."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="on", timeout_keep_alive=30,
        timeout_graceful_shutdown=2 * int(limits.seconds) + 5, h11_max_incomplete_event_size=64 * 1024, http=TimedProtocol,
    )  # fmt: skip
    server = Interruptible(config)
    server.take_signals()
    return server
