"""Ends idle connections: of clients that begin no request, or do not read their answer.

uvicorn waits for both without end, so that some thousand idle connections, or a few hundred streams that nobody reads, would
shut all others out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from bitmosaic.web.guard import HEADERS


class LingeringTransport:
    """A transport that closes only its writing half while the client still sends (RFC 9112, section 9.6).

    Closed altogether, the socket would answer further bytes with a reset, which destroys the answer on its way: a client that
    sends too large a picture would never read why it is refused. The protocol aborts it after `TimedProtocol.linger` seconds.
    """

    def __init__(self, transport: asyncio.Transport, sends: Callable[[], bool], begun: Callable[[], None]):
        """sends: whether more may come; begun: called when the wait begins."""
        self._transport, self._sends, self._begun, self.lingers = transport, sends, begun, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._sends():
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._begun()


class TimedProtocol(H11Protocol):
    """HTTP/1.1 by uvicorn and h11, with time limits. Bytes that are not HTTP get a JSON error of status 400 like all other errors."""

    head = 30.0  # seconds within which a request's line and headers must have come
    stall = 30.0  # seconds within which the write buffer, once full, must drain below its low-water mark
    linger = 5.0  # seconds for which a client that was refused in the middle of its body may go on sending

    def __init__(self, *given: Any, **more: Any):
        super().__init__(*given, **more)
        self._waits: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(LingeringTransport(transport, self._sends, lambda: self._wait("linger", self.linger)))
        self._expect()

    def _sends(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def data_received(self, data: bytes) -> None:
        if not self.transport.lingers:
            super().data_received(data)
            self._expect()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait("stall", self.stall)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._rest("stall")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for name in list(self._waits):
            self._rest(name)

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": "request: got bytes that are not HTTP/1.1; see /openapi.json", "status": 400}).encode()
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **HEADERS}
        for event in (h11.Response(status_code=400, headers=list(told.items()), reason=b"Bad Request"), h11.Data(body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _expect(self) -> None:
        """Starts the limit `head` where no request is being answered; further bytes of the headers do not extend it."""
        answered = self.cycle is not None and self.cycle.response_complete  # although the rest of its body may still arrive
        if self.conn.their_state is not h11.IDLE and not answered:
            self._rest("head")
        elif "head" not in self._waits:
            self._wait("head", self.head)

    def _wait(self, name: str, seconds: float) -> None:
        self._rest(name)
        self._waits[name] = self.loop.call_later(seconds, self.transport.abort)

    def _rest(self, name: str) -> None:
        if (timer := self._waits.pop(name, None)) is not None:
            timer.cancel()
