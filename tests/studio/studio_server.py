"""A studio in a thread of the test's process, and a client of the standard library."""

import base64
import contextlib
import http.client
import io
import json
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the studio is not installed: pip install 'bitmosaic[web]'")
uvicorn = pytest.importorskip("uvicorn", reason="the studio is not installed: pip install 'bitmosaic[web]'")

from bitmosaic.commands.studio import listen  # noqa: E402
from bitmosaic.images import ArrayImages  # noqa: E402
from bitmosaic.web.app import application  # noqa: E402
from bitmosaic.web.connections import TimedProtocol  # noqa: E402
from bitmosaic.web.limits import Limits  # noqa: E402
from bitmosaic.web.studio import Studio  # noqa: E402

BUNDLE = 200  # of 10,000, which take seconds to be looked through


@dataclass
class Answer:
    status: int
    headers: dict
    data: bytes

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def picture(self):
        return pixels(self.data)


class Server:
    """Where it listens, and what stands behind it."""

    def __init__(self, studio: Studio, port: int):
        self.studio, self.port = studio, port

    def ask(self, path: str, body=None, accept="application/json", method=None, headers=None) -> Answer:
        """One request: JSON of `body`, or its bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": accept, **(headers or {})}
        with contextlib.closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def made(self, job: str, body: dict) -> list[np.ndarray]:
        """The pictures of a JSON answer."""
        answer = self.ask(f"/v1/{job}", body)
        assert answer.status == 200, answer.data
        return [pixels(base64.b64decode(one["image"])) for one in answer.json["images"]]


def pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


@contextlib.contextmanager
def serving(pipelines, limits=None, batch=64, wait=0.05, cache=None, **guarded):
    """A server of these pipelines, which ends with the block. Neighbours are sought among the first BUNDLE images only."""
    studio = Studio(pipelines, limits or Limits(), batch, wait, cache=cache)
    for bundle in studio.bundles.values():
        some = bundle._images
        bundle._images = ArrayImages(some.pixels[:BUNDLE], some.labels[:BUNDLE], some.class_names)
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(application(studio, **guarded), log_level="warning", access_log=False, ws="none", http=TimedProtocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Server(studio, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
