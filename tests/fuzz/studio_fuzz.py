"""Ten thousand malformed requests for a running studio: none may hang, none may be its mistake, and afterwards it works as before.

    python tests/fuzz/studio_fuzz.py                    # 10,000 of them, from seed 0
    python tests/fuzz/studio_fuzz.py --only 4711        # one again, and what came back

Kinds stand in studio_hostile.py. Each is answered within `--patience` seconds with a status below 500, or the connection is closed where
there is nothing to answer. What speaks HTTP and is refused gets JSON as the OpenAPI document says, with a status that it names; an answer
of 200 fits its schema too. Afterwards: /health is ok and nothing is waited for, the log holds no traceback, memory has not grown by
more than `--growth` MiB since the first tenth, and a request gives the pixels that it gave before.

Prints counts by kind and status, writes docs/studio.json (this part of it).
"""

import argparse
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from studio_hostile import KINDS, case, slow
from studio_hostile_base import LIMITS, TOKEN, Case
from studio_started import Server, thinned

from bitmosaic.folders import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NORMAL = {"class": "bag", "seed": 7, "count": 3}


def sent(server: Server, one: Case, patience: float) -> bytes | None:
    """Does it; what came back until the connection ended, None where nobody waits for it. TimeoutError where nothing ends it."""
    with socket.create_connection((server.host, server.port), 30) as found:
        found.settimeout(patience)
        try:
            for i, part in enumerate(one.parts):
                if i:
                    time.sleep(one.pause)
                found.sendall(part)
            if one.end in ("drop", "reset"):
                if one.end == "reset":
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return None
            if one.end == "shut":
                found.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            pass  # refused before all was sent; the answer may stand in the buffer
        return received(found, time.monotonic() + patience)


def received(found: socket.socket, end: float) -> bytes:
    parts = []
    while True:
        found.settimeout(max(0.01, end - time.monotonic()))
        try:
            part = found.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def read(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the first answer on a connection; chunks are joined."""
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        whole, left = b"", body
        while left:
            size, _, left = left.partition(b"\r\n")
            whole, left = whole + left[: int(size, 16)], left[int(size, 16) + 2 :]
        body = whole
    elif "content-length" in headers:
        body = body[: int(headers["content-length"])]
    return int(lines[0].split()[1]), headers, body


class Judge:
    """What is wrong with an answer, by the OpenAPI document."""

    def __init__(self, document: dict[str, Any]):
        self.document, self.lock = document, threading.Lock()
        self.validators: dict[str, Draft202012Validator] = {}

    def fits(self, name: str, value: Any) -> str | None:
        """Why a value is no `name` of the document; None where it is one."""
        with self.lock:
            if name not in self.validators:
                self.validators[name] = Draft202012Validator({"$ref": f"#/components/schemas/{name}", **self.document})
        error = next(self.validators[name].iter_errors(value), None)
        return None if error is None else f"no {name}: {error.message[:200]}"

    def wrong(self, one: Case, status: int, headers: dict[str, str], body: bytes) -> str | None:
        """None where the answer is as it should be."""
        media = headers.get("content-type", "").partition(";")[0]
        if status >= 500:
            return f"status {status}"
        known = self.document["paths"].get(one.path.partition("?")[0], {}).get(one.method.lower())
        if known is not None and one.http and str(status) not in known["responses"]:
            return f"status {status} is not in the document"
        lacks = [] if known is None else [n for n in known["responses"].get(str(status), {}).get("headers", {}) if n.lower() not in headers]
        if lacks:
            return f"status {status} without {', '.join(lacks)}"
        if one.method == "HEAD":
            return None
        if status >= 400:
            if media != "application/json":
                return f"status {status} as {media}"
            told = json.loads(body)
            return self.fits("Error", told) or (None if told["status"] == status else "another status in the error")
        if known is not None and media == "application/json" and not one.path.startswith("/openapi.json"):
            name = known["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            return self.fits(name, json.loads(body))
        return None


def outcome(server: Server, judge: Judge, one: Case, patience: float) -> tuple[str, str | None]:
    """What happened, and what was wrong with it."""
    try:
        answer = sent(server, one, patience)
    except TimeoutError:
        return "hang", f"no answer in {patience:g} s"
    except OSError as error:
        return "refused", f"no connection: {error}"
    if answer is None:
        return "dropped", None
    if not answer:
        return "closed", None if one.end == "shut" or not one.http else "closed without an answer"
    try:
        status, headers, body = read(answer)
        return str(status), judge.wrong(one, status, headers, body)
    except Exception as error:
        return "unreadable", f"{type(error).__name__}: {error}; {answer[:200]!r}"


def normal(server: Server) -> list[str]:
    """The pictures of a request as anybody sends it, the settings in their text included."""
    status, data = server.ask("POST", "/v1/generate", NORMAL, BEARER)
    if status != 200:
        raise RuntimeError(f"a normal request got {status}: {data[:300]!r}")
    return [one["image"] for one in json.loads(data)["images"]]


def fuzz(given: argparse.Namespace) -> dict[str, Any]:
    """All of them."""
    counts: dict[str, Counter[str]] = {}
    spent: Counter[str] = Counter()
    failures, slowest, lock = [], 0.0, threading.Lock()
    options = [f"--{name}={value}" for name, value in LIMITS.items()]
    with Server("--token", TOKEN, "--origin", "https://example.org", *options) as server:
        judge = Judge(json.loads(server.ask("GET", "/openapi.json", headers=BEARER)[1]))
        before, start, tenth = normal(server), time.monotonic(), 0.0

        def once(number: int) -> None:
            nonlocal slowest, tenth
            one, began = case(given.seed, number, given.kind), time.monotonic()
            what, why = outcome(server, judge, one, given.patience)
            with lock:
                counts.setdefault(one.kind, Counter())[what] += 1
                spent[one.kind] += time.monotonic() - began
                slowest = max(slowest, time.monotonic() - began - one.pause * len(one.parts))
                tenth = tenth or (time.monotonic() - start if number >= given.count // 10 else 0.0)
                if why is not None:
                    failures.append({"number": number, "kind": one.kind, "why": why})
                    print(f"{number}, {one.kind}, {one.path[:80]!r}: {why}", file=sys.stderr, flush=True)

        with ThreadPoolExecutor(given.clients) as pool:
            list(pool.map(once, range(given.count)))
        took = time.monotonic() - start
        if server.process.poll() is not None:
            raise RuntimeError(f"the studio ended with {server.process.returncode}: {server.told()[-5000:]}")
        waited = wait_for_quiet(server)
        same, health = normal(server) == before, json.loads(server.ask("GET", "/health")[1])
        sizes = [size / 2**20 for seconds, size in server.memory if seconds >= tenth]
        log = server.told()
    return {
        "requests": given.count, "seed": given.seed, "seconds": took, "counts": {kind: dict(rows) for kind, rows in sorted(counts.items())},
        "seconds_by_kind": dict(spent), "failures": failures, "slowest_seconds": slowest, "tracebacks_in_the_log": log.count("Traceback"),
        "first_traceback": log[log.find("Traceback") :][:3000] if "Traceback" in log else None,
        "health_afterwards": health["status"], "still_waited_for": waited, "same_pixels_afterwards": same,
        "memory": {"after_a_tenth_mib": sizes[0], "at_the_end_mib": sizes[-1], "most_mib": max(sizes), "mib": thinned(sizes)},
    }  # fmt: skip


def wait_for_quiet(server: Server) -> int:
    """Images that are waited for though nobody is there any more, after half a minute at most."""
    for _ in range(60):
        if not (waited := json.loads(server.ask("GET", "/health")[1])["images_waited_for"]):
            break
        time.sleep(0.5)
    return waited


def again(given: argparse.Namespace) -> None:
    """One request, and all that came back."""
    one = case(given.seed, given.only, given.kind)
    print(one.kind, one.end, one.parts[:2] if sum(map(len, one.parts)) < 3000 else [part[:1500] for part in one.parts[:2]])
    with Server("--token", TOKEN, "--origin", "https://example.org", *[f"--{name}={value}" for name, value in LIMITS.items()]) as server:
        print((sent(server, one, given.patience) or b"nothing")[:3000])
        time.sleep(1)
        print(server.told())


def main(arguments: list[str] | None = None) -> int:
    """Reads the arguments, does what they say; the exit status, 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--patience", type=float, default=60)
    parser.add_argument("--growth", type=float, default=200)
    parser.add_argument("--kind", choices=[kind.__name__ for kind in (*KINDS, slow)], help="only this one")
    parser.add_argument("--only", type=int, metavar="NUMBER")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "studio.json")
    given = parser.parse_args(arguments)
    if given.only is not None:
        again(given)
        return 0
    found = fuzz(given)
    statuses = sorted({status for rows in found["counts"].values() for status in rows})
    print(f"{'':<20}" + "".join(f"{status:>10}" for status in statuses))
    for kind, rows in found["counts"].items():
        print(f"{kind:<20}" + "".join(f"{rows.get(status, ''):>10}" for status in statuses))
    for name, value in found.items():
        if name != "counts":
            print(f"{name:<24} {value}")
    whole = read_json(given.out) if given.out.exists() else {}
    write_json(given.out, {**whole, "fuzz": found})
    grown = found["memory"]["at_the_end_mib"] - found["memory"]["after_a_tenth_mib"]
    well = found["same_pixels_afterwards"] and found["health_afterwards"] == "ok" and grown <= given.growth
    return int(bool(found["failures"] or found["tracebacks_in_the_log"] or found["still_waited_for"] or not well))


if __name__ == "__main__":
    sys.exit(main())
