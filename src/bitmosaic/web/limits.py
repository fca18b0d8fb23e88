"""Limits of requests, and the error of one that exceeds them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for, and that all waiting ones may together. ValueError for a limit that is not above 0.

    Args:
        bytes: of a request's body.
        pixels: of a picture or a canvas.
        canvas: area of a canvas, in areas of the pipeline's images.
        count: images of one request.
        steps: rounds of the sampler.
        evaluations: of the head in one round.
        seconds: from a request's arrival to its answer, waiting included.
        queue: images that wait or are drawn at once, of all clients together.
    """

    bytes: int = 16 * 2**20
    pixels: int = 2**22
    canvas: int = 64
    count: int = 64
    steps: int = 128
    evaluations: int = 256
    seconds: float = 60.0
    queue: int = 256

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{field.name}: got {value}; give a number above 0")


class RequestError(Exception):
    """A request that is not answered: an HTTP status and one line that says what came and what would do."""

    def __init__(self, status: int, message: str, **headers: str):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, {name.replace("_", "-"): value for name, value in headers.items()}
