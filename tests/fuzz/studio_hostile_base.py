"""What malformed requests for a studio are made of: cases, messages, forms, and values that hardly any field may have."""

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

from studio_jobs import request

TOKEN = "a-token-of-the-fuzz-test"
LIMITS = {"bytes": 2**20, "seconds": 20}  # of the studio that is asked
CLASSES = ["bag", "sandal", "coat", "shirt"]
GETS = ["/", "/health", "/metrics", "/openapi.json", "/v1/pipelines", "/v1/bundled/3", "/v1/classes/fashion/1.png", "/static/index.html"]
POSTS = ["generate", "inpaint", "edit", "outpaint", "interpolate", "enrich", "encode", "decode", "features", "neighbours"]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 65, 10**6, -(2**63), 2**64, 10**400, 0.5, -0.5, 1e308, -1e308, 1e-300, float("nan"), float("inf"), "",
    " ",
    "0", "null", "bag", "\x00", "\ud800", "é" * 50, "A" * 5000, "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "fashion:0",
    "fashion:99999", "fashion:-1", "fashion:٣", "data:image/png;base64,", "data:,", "====", "AAAA", "<svg/>", [], [[]], [0], [1, 2, 3, 4],
    [-1] * 4,
    [2**40] * 4, ["bag"], [None] * 100, [[0, 0]] * 50, [[-1, 99]], [0.5] * 3, {}, {"": 0}, {"bag": 1}, {"bag": -1, "coat": 2},
    {"bag": 1e300},
    {"box": [0, 0, 0, 0]}, {"box": [28, 28, 0, 0]}, {"box": [0, 0, 10**9, 10**9]}, {"places": [[99, 99]]}, {"places": []},
    {"box": [], "places": []},
    {"none": 0.5, "bag": 0.5}, {"steps": 10**9}, {"steps": 0}, {"temperature": 0}, {"guidance_scale": 1e30}, {"sampler": "raster"},
    {"sampler": "marginals-first", "shortlist": -3}, {"procedure": "posterior"}, {"shortlist": 1e-9}, {"x": {"y": {"z": []}}},
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is done: bytes that are sent, in parts with a pause between, and how the connection ends."""

    kind: str
    parts: tuple[bytes, ...]
    pause: float = 0.0
    end: str = "wait"  # wait: for an answer; shut: nothing more will be sent, then wait; drop; reset
    http: bool = True  # whether it is HTTP, so that an error is told in JSON
    method: str = "POST"
    path: str = ""


def message(
    rng: random.Random, method: str, path: str, body: bytes = b"", kind: str | None = "application/json", headers: tuple[bytes, ...] = (),
    token: bool = True, host: bytes | None = b"127.0.0.1", length: bool = True,
) -> bytes:  # fmt: skip
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1".encode("utf-8", "surrogatepass"), b"Connection: close"]
    lines += [b"Host: " + host] if host is not None else []
    lines += [f"Authorization: Bearer {TOKEN}".encode()] if token else []
    lines += [f"Content-Type: {kind}".encode("utf-8", "surrogatepass")] if kind is not None and body else []
    lines += [f"Content-Length: {len(body)}".encode()] if body and length else []
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def valid(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A small request that could be answered."""
    name, body = request(rng, CLASSES)
    if "count" in body and name != "neighbours":
        body["count"] = 1
    if "settings" in body:
        body["settings"] = {"steps": 1, "evaluations": 1}
    return name, body


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def post(kind: str, rng: random.Random, name: str, body: bytes, media: str | None = "application/json", **more: Any) -> Case:
    accept = rng.choice(
        [b"Accept: */*", b"Accept: application/json", b"Accept: image/png", b"Accept: text/event-stream", b"Accept: text/html;q=x"]
    )
    return Case(kind, (message(rng, "POST", f"/v1/{name}", body, media, (accept,), **more),), path=f"/v1/{name}")


def form(
    kind: str, rng: random.Random, name: str, parts: list[tuple[str, str | None, bytes]], edge: str = "edge", media: str | None = None
) -> Case:
    found = b""
    for part, file, data in parts:
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{part}"' + (f'; filename="{file}"' if file is not None else "")
        found += head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + data + b"\r\n"
    return post(kind, rng, name, found + f"--{edge}--\r\n".encode(), media or f"multipart/form-data; boundary={edge}")


def odd(rng: random.Random) -> Any:
    """A value that hardly any field may have."""
    return copy.deepcopy(rng.choice(ODD))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """With bits flipped, cut, or longer."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else min(len(data), rng.randrange(64))
        way = rng.randrange(4)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif way == 1:
            del data[at:]
        elif way == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif data:
            data[at % len(data)] = rng.choice([0, 1, 127, 128, 255])
    return bytes(data)
