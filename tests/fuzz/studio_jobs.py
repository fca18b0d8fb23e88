"""Clients of a studio that do everything: all the jobs, streams read to the end or cut off, requests that nobody waits for."""

import base64
import io
import json
import random
import socket
import time
from typing import Any

from PIL import Image
from studio_started import Server, asked

QUICK = {"steps": 4, "evaluations": 4}


def photo(rng: random.Random, size: int = 28) -> str:
    """Noise as a PNG in base64."""
    data = io.BytesIO()
    Image.frombytes("L", (size, size), rng.randbytes(size * size)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def request(rng: random.Random, classes: list[str]) -> tuple[str, dict[str, Any]]:
    """A job that the studio takes, and what it is asked."""
    image = f"fashion:{rng.randrange(10_000)}" if rng.random() < 0.7 else photo(rng)
    drawn = {"seed": rng.randrange(2**32), "count": rng.randint(1, 4), "settings": QUICK if rng.random() < 0.8 else {}}
    class_ = rng.choice([*classes, rng.randrange(len(classes)), None, dict(zip(rng.sample(classes, 2), (0.25, 0.75), strict=True))])
    mask = rng.choice([{"box": [0, 14, 28, 28]}, {"places": [[0, 0], [3, 4], [6, 6]]}])
    makers = {
        "generate": {"class": class_, **drawn},
        "inpaint": {"image": image, "mask": mask, "class": class_, "feather": rng.randint(0, 2), **drawn},
        "edit": {"image": image, "mask": mask, "class": rng.choice(classes), **drawn},
        "outpaint": {"image": image, "padding": [0, 0, rng.choice([4, 14]), 0], "class": class_, **drawn},
        "interpolate": {"classes": rng.sample(classes, 2), "frames": rng.randint(2, 5), "seed": drawn["seed"], "settings": QUICK},
        "enrich": {"image": image, "class": class_, "repeats": 1, "settings": QUICK, "seed": drawn["seed"], "fit": "crop"},
        "encode": {"image": image},
        "features": {"image": image, "pool": rng.choice([True, False, 2])},
        "neighbours": {"image": image, "by": rng.choice(["codes", "features"])},
    }
    name = rng.choice([*makers, "generate", "generate"])
    return name, makers[name]


def mixed(server: Server, tally: Any, classes: list[str], rng: random.Random, end: float) -> None:
    """One client of many kinds."""
    connection = server.connect()
    while time.monotonic() < end:
        start, (name, body) = time.monotonic(), request(rng, classes)
        way = rng.random()
        try:
            if way < 0.15:
                tally.add(left(server, name, body, rng), job=name)
                continue
            streamed = way < 0.4 and name not in ("encode", "features", "neighbours")
            if streamed and rng.random() < 0.5:
                connection.close()  # the service would, where a stream begins late: it ends what nobody uses for half a minute
                tally.add(cut(server, name, body, rng), job=name)
                continue
            accept = {"Accept": "text/event-stream" if streamed else "application/json"}
            status, headers, data = asked(connection, "POST", f"/v1/{name}", body, accept)
            told = result(data) if streamed and status == 200 else json.loads(data)
        except Exception as error:  # whatever it is, it's counted
            tally.add(type(error).__name__, job=name)
            connection.close()
            time.sleep(0.1)
            continue
        status = told.get("status", status)  # of a stream that ended in an error
        images = told.get("images", [])
        tally.add(str(status), time.monotonic() - start, len(images), job=name)
        if status == 200 and name == "generate" and body["settings"] == {} and isinstance(body["class"], str):
            tally.keep(rng, body["class"], images[0]["seed"], base64.b64decode(images[0]["image"]))
        elif status not in (200, 429):
            print(f"{name}: {status} {told.get('error')}", flush=True)
        if status == 429 and "Retry-After" in headers:
            time.sleep(min(float(headers["Retry-After"]), max(0.0, end - time.monotonic())))
    connection.close()


def result(data: bytes) -> dict[str, Any]:
    """What the last event of a stream tells."""
    last = [part for part in data.decode().split("\n\n") if part.startswith("event: ")][-1]
    kind, _, told = last.partition("\ndata: ")
    if kind not in ("event: result", "event: error"):
        raise ValueError(f"a stream ended with {kind}")
    return json.loads(told)


def raw(server: Server, name: str, body: dict[str, Any], accept: str) -> socket.socket:
    """A socket on which a request has been sent."""
    data = json.dumps(body).encode()
    head = f"POST /v1/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Accept: {accept}\r\nContent-Length: {len(data)}"
    found = socket.create_connection((server.host, server.port), 90)
    found.sendall(f"{head}\r\n\r\n".encode() + data)
    return found


def left(server: Server, name: str, body: dict[str, Any], rng: random.Random) -> str:
    """Asks, and goes away before the answer, or after part of it."""
    with raw(server, name, body, "application/json"):
        time.sleep(rng.random())
    return "gone"


def cut(server: Server, name: str, body: dict[str, Any], rng: random.Random) -> str:
    """Reads the beginning of a stream, and goes away."""
    with raw(server, name, body, "text/event-stream") as found:
        read, most = 0, rng.randint(1, 20_000)
        while read < most and (chunk := found.recv(4096)):
            read += len(chunk)
    return "cut"
