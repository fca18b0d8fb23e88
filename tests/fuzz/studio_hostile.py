"""Malformed requests for a studio, by kind: what is sent on a socket, made from a random generator."""

import random
from collections.abc import Callable

from studio_hostile_base import Case
from studio_hostile_bodies import broken_json, content_types, forms, large, odd_fields
from studio_hostile_lines import chunked, cut_off, dropped, garbage, headers, paths, slow, tokens
from studio_hostile_pictures import masks, pictures

KINDS: dict[Callable[[random.Random], Case], int] = {  # and how often
    broken_json: 15, odd_fields: 25, pictures: 20, masks: 8, forms: 8, content_types: 4, paths: 10, headers: 10, tokens: 4, cut_off: 5,
    chunked: 5,
    large: 2, garbage: 6, dropped: 4,
}  # fmt: skip
SLOW = 250  # one in so many


def case(seed: int, number: int, kind: str | None = None) -> Case:
    """One of all, or of a kind by the name of its function."""
    rng = random.Random(f"{seed} {number}")
    if kind is not None:
        return next(one for one in (*KINDS, slow) if one.__name__ == kind)(rng)
    return slow(rng) if number % SLOW == SLOW - 1 else rng.choices(list(KINDS), list(KINDS.values()))[0](rng)
