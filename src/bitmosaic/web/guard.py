"""Middleware before every request: allowed origins and hosts, limits of size and time, and security headers of answers."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from bitmosaic.web.limits import Limits, RequestError
from bitmosaic.web.words import shown

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OPEN = ("/", "/health", "/openapi.json")  # served without a token, as is /static: the page itself asks the user for it
LOG = logging.getLogger("bitmosaic.studio")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware; what it refuses never reaches the application."""

    def __init__(
        self, app: Callable, *, limits: Limits, token: str | None, hosts: Sequence[str] | None, origins: Sequence[str],
        seen: Callable[[str, int, float], None],
    ):  # fmt: skip
        """token: that every request must send, if any. hosts: values of Host that are accepted (None: any). origins: other sites that
        may send requests. seen: called after each request with its route, status and seconds.
        """
        self.app, self.limits, self.token, self.hosts, self.origins, self.seen = app, limits, token, hosts, origins, seen

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, origin = time.monotonic(), 500, None

        async def answer(message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_headers(origin)]}
            await send(message)

        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            origin = self._origin(headers, scope)
            if scope["method"] == "OPTIONS" and origin is not None:
                await _send(
                    answer,
                    204,
                    b"",
                    {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Allow-Headers": "authorization, content-type"},
                )
                return
            self._check_token(headers, scope["path"])
            await self.app(scope, _limited(receive, headers, self.limits), answer)
        except RequestError as refused:
            body = json.dumps({"error": refused.message, "status": refused.status}).encode()
            await _send(answer, refused.status, body, {"Content-Type": "application/json", "Connection": "close", **refused.headers})
        finally:
            seconds, status = time.monotonic() - started, scope.get("bitmosaic.status", status)
            self.seen(scope.get("bitmosaic.route", "other"), status, seconds)
            LOG.info("%s %s %d %.0f ms", scope["method"], scope["path"][:100].encode("unicode_escape").decode(), status, 1000 * seconds)

    def _origin(self, headers: dict[str, str], scope) -> str | None:
        """The origin of an allowed cross-site request, None for our own page. RequestError (403) for other sites, and for a Host that is
        not ours (DNS rebinding).
        """
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            raise RequestError(403, f"host: got {shown(host[:70])}; give {' or '.join(self.hosts)}, or start the studio with --host")
        origin = headers.get("origin")
        if origin is None or origin == f"{scope['scheme']}://{host}" or origin == f"https://{host}":
            if origin is None and headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith("/v1"):
                raise RequestError(403, "origin: got a request from another site; start the studio with --origin to allow it")
            return None
        if origin not in self.origins:
            raise RequestError(403, f"origin: got {shown(origin[:70])}; start the studio with --origin to allow it")
        return origin

    def _check_token(self, headers: dict[str, str], path: str) -> None:
        if self.token is None or path in OPEN or path.startswith("/static/"):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise RequestError(401, "token: none, or a wrong one; send the header 'Authorization: Bearer TOKEN'", WWW_Authenticate="Bearer")


def _name(host: str) -> str:
    """A host without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _headers(origin: str | None) -> list[tuple[bytes, bytes]]:
    allowed = {
        "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "Retry-After, X-Class", "Vary": "Origin",
        "Cross-Origin-Resource-Policy": "cross-origin",
    } if origin else {}  # fmt: skip
    return [(name.encode(), value.encode()) for name, value in {**HEADERS, **allowed}.items()]


def _limited(receive: Callable, headers: dict[str, str], limits: Limits) -> Callable:
    """`receive` with limits. RequestError: 400 for an invalid Content-Length, 408 for a body that comes too slowly, 413 for too large."""
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) <= 20):
        raise RequestError(400, f"content-length: got {shown(length[:20])}; give a number of bytes")
    too_much = f"body: more than {limits.bytes} bytes; send a smaller picture"
    if int(length) > limits.bytes:
        raise RequestError(413, too_much)
    taken, done, ends = 0, False, time.monotonic() + limits.seconds

    async def limited():
        nonlocal taken, done
        if done:  # the next message is that the client has disconnected, for which there is no time limit
            return await receive()
        try:
            async with asyncio.timeout(ends - time.monotonic()):  # for the whole body, in however many parts
                message = await receive()
        except TimeoutError:
            raise RequestError(408, f"body: got {taken} bytes in {limits.seconds:g} seconds; send it whole within that time") from None
        taken, done = taken + len(message.get("body", b"")), not message.get("more_body", False)
        if taken > limits.bytes:
            raise RequestError(413, too_much)
        return message

    return limited


async def _send(send: Callable, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*pairs, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
