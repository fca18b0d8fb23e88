"""Limits of requests, and the error of one that exceeds them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of all that wait together.

    Args:
        bytes: that the body of a request may have.
        pixels: that a picture or a canvas may have.
        canvas: how many times as large as the pipeline's images what is painted on may be.
        count: images that one request may ask for.
        steps: rounds of the sampler.
        evaluations: of the head in one round.
        seconds: that a request may take, waiting included.
        queue: images that may be waited for at once, by all clients together.
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
