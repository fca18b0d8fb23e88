"""A studio in a process of its own, for load tests and benchmarks: started, asked over plain sockets, watched from /proc."""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
START = 120  # seconds that loading a pipeline may take


class Server:
    """`bitmosaic studio` on a free port, its log in a file. Use it in a `with`; `more`: further words of the command."""

    def __init__(self, *more: str, pipeline: str = "fashion"):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="studio-", suffix=".log")
        words = [sys.executable, "-m", "bitmosaic", "studio", pipeline, "--port", "0", *more]
        told = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # where it was, if it ends by a signal
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self.log, text=True, env=told)
        self.host, self.port = self._address()
        self.memory: list[tuple[float, int]] = []  # seconds since the start, bytes
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def _address(self) -> tuple[str, int]:
        timer = threading.Timer(START, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        found = re.search(r"http://\S+?/", line)
        if found is None:
            self.process.kill()
            self.log.seek(0)
            raise RuntimeError(f"the studio did not start: {line}{self.log.read()[-2000:]}")
        address = urlsplit(found[0])
        return address.hostname, address.port

    def __enter__(self) -> "Server":
        self._watch.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self.process.terminate()
        try:
            self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _look(self) -> None:
        start = time.monotonic()
        while not self._done.wait(0.5) and self.process.poll() is None:
            self.memory.append((time.monotonic() - start, resident(self.process.pid)))

    def cpu(self) -> float:
        """Processor seconds that the process has used."""
        return cpu_seconds(self.process.pid)

    def connect(self, timeout: float = 90) -> http.client.HTTPConnection:
        """A connection that stays open."""
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 90):
        """Status and bytes of one request on a connection of its own; body: JSON."""
        connection = self.connect(timeout)
        try:
            return asked(connection, method, path, body, headers)[::2]
        finally:
            connection.close()

    def told(self) -> str:
        """The log so far."""
        return Path(self.log.name).read_text(errors="replace")


def asked(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None):
    """Status, headers and bytes of an answer."""
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, data, {**kind, **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def resident(process: int) -> int:
    """Bytes of memory that a process holds; 0 where there is none."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def cpu_seconds(process: int) -> float:
    """Processor seconds that a process has used, in the system and out of it."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


def thinned(sizes: list[float], points: int = 50) -> list[float]:
    """So many of them, from first to last."""
    step = max(1, len(sizes) // points)
    return [round(size, 1) for size in sizes[::step]]
