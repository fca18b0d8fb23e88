"""Clients that would hold the studio up, or bring it down: each is refused or dropped, and the others are served."""

import contextlib
import json
import socket
import struct
import threading
import time
from types import SimpleNamespace

import pytest
from quick import quick_pipeline
from studio_server import Limits, serving, uvicorn

from bitmosaic.commands.studio import listen
from bitmosaic.web.connections import TimedProtocol

anyio = pytest.importorskip("anyio", reason="the studio is not installed: pip install 'bitmosaic[web]'")

SECONDS = 0.4  # that the service has patience for, here
MANY = {"class": "bag", "count": 16, "settings": {"steps": 12, "evaluations": 4}}


@pytest.fixture(scope="module")
def pipe():
    return quick_pipeline()


@pytest.fixture
def server(pipe, monkeypatch):
    monkeypatch.setattr(TimedProtocol, "head", SECONDS)
    monkeypatch.setattr(TimedProtocol, "stall", SECONDS)
    with serving({"fashion": pipe}) as server:
        yield server


@contextlib.contextmanager
def connected(server, *sent):
    """A socket on which that was sent."""
    with socket.socket() as found:
        found.settimeout(30)
        found.connect(("127.0.0.1", server.port))
        for part in sent:
            found.sendall(part)
        yield found


@contextlib.contextmanager
def running(app):
    """An application as the studio's is run."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", lifespan="off", ws="none", http=TimedProtocol, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield SimpleNamespace(port=listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)


def head(path, *lines, length=None):
    told = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *lines]
    return "\r\n".join([*told, *([f"Content-Length: {length}"] if length is not None else []), "", ""]).encode()


def rest(found):
    """All that comes, until the connection ends."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := found.recv(65536):
            data += part
    return data


def drip(found, byte, seconds):
    """Sends it again and again, as long as that or until the connection ends; how long that was."""
    start = time.monotonic()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < start + seconds:
            found.sendall(byte)
            time.sleep(0.05)
    return time.monotonic() - start


@pytest.mark.parametrize("sent", [b"", b"POST /v1/generate HTTP/1.1\r\nX: ", b"\r\n"], ids=["nothing", "half a head", "an empty line"])
def test_who_begins_no_request_is_dropped(server, sent):
    start = time.monotonic()
    with connected(server, sent) as found:
        assert rest(found).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 400 Bad Request")
    assert time.monotonic() - start < 10 * SECONDS


def test_a_head_that_drips_in_is_not_waited_for(server):
    with connected(server, b"GET /health HTTP/1.1\r\nX: ") as found:
        assert drip(found, b"a", 10 * SECONDS) < 10 * SECONDS


def test_a_second_request_on_a_connection_is_waited_for_no_longer(server):
    with connected(server, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as found:
        assert found.recv(65536).startswith(b"HTTP/1.1 200")
        assert drip(found, b"a", 10 * SECONDS) < 10 * SECONDS


def test_a_body_that_drips_in_has_one_deadline(server, pipe):
    with serving({"fashion": pipe}, Limits(seconds=SECONDS)) as short, connected(short, head("/v1/generate", length=1000)) as found:
        drip(found, b" ", 5 * SECONDS)
        assert rest(found).startswith(b"HTTP/1.1 408")


def test_a_body_that_drips_in_after_its_answer_is_not_read_for_ever(server):
    with connected(server, head("/v1/nothing", length=10_000)) as found:
        assert found.recv(65536).startswith(b"HTTP/1.1 404")
        assert drip(found, b" ", 10 * SECONDS) < 10 * SECONDS


def test_who_does_not_read_its_answer_is_dropped(monkeypatch):
    monkeypatch.setattr(TimedProtocol, "stall", SECONDS)
    gone = threading.Event()

    async def endless(scope, receive, send):
        async def watch():
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()

        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            while not gone.is_set():
                await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
                await anyio.sleep(0)

    with running(endless) as server, connected(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as found:
        assert len(found.recv(2**16)) > 0 and gone.wait(30)


@pytest.mark.parametrize("more", ["Connection: close", "Connection: keep-alive"])
def test_who_sends_too_much_reads_why_it_is_refused(server, more):
    size = 40 * 2**20
    with connected(server, head("/v1/encode", more, length=size)) as found:
        for _ in range(size // 2**16):  # as most clients do: all of the body before they look for an answer
            found.sendall(bytes(2**16))
        told, _, body = found.recv(2**16).partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 413") and "send a smaller picture" in json.loads(body)["error"]


def test_a_refused_client_that_never_ends_is_dropped(server, monkeypatch):
    monkeypatch.setattr(TimedProtocol, "linger", SECONDS)
    with connected(server, head("/v1/encode", length=10**12)) as found:
        assert drip(found, bytes(2**16), 10 * SECONDS) < 10 * SECONDS


def test_what_is_no_http_is_told_in_json(server):
    with connected(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n") as found:
        told, _, body = rest(found).partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 400") and b"X-Frame-Options: DENY".lower() in told.lower()
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("path", ["/v1/bundled/{}", "/v1/classes/fashion/{}.png"])
@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1.5", "%D9%A3", "x"])
def test_numbers_in_paths_that_are_none(server, path, number):
    answer = server.ask(path.format(number))
    assert (answer.status, answer.json["status"]) == (404, 404)


def test_a_crowd_of_idle_connections_shuts_nobody_out(server):
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(server)) for _ in range(300)]
        assert server.ask("/health").status == 200
        assert all(rest(found) == b"" for found in crowd)


def test_dropped_with_a_reset_in_the_middle(server):
    body = json.dumps(MANY).encode()
    with connected(server, head("/v1/generate", length=len(body)), body) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end = time.monotonic() + 30
    while server.ask("/health").json["images_waited_for"]:
        assert time.monotonic() < end


def test_who_asks_as_soon_as_the_address_is_told_is_not_refused():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname(), 5):
        pass
