"""Partners covered instead of crossed: of all combinations of some factors only a few, in which every pair of values occurs."""

import itertools
from collections.abc import Callable, Sequence

import pytest


def covering(*factors: Sequence, ways: int = 2, fits: Callable[..., bool] = lambda *_: True) -> list[tuple[int, ...]]:
    """Combinations, as places of values in their factors, that hold all that any `ways` factors can together have.

    With 2, every pair of values of two factors; with 1, every value. fits: which combinations there are. Greedy, so few, not the fewest.
    """
    own = list(itertools.combinations(range(len(factors)), min(ways, len(factors))))
    rows = itertools.product(*(range(len(factor)) for factor in factors))
    brings = {row: {(part, tuple(row[i] for i in part)) for part in own} for row in rows if fits(*map(_at, factors, row))}
    wanted, chosen = set().union(*brings.values()), []
    while wanted:
        chosen.append(max(brings, key=lambda row: len(brings[row] & wanted)))
        wanted -= brings[chosen[-1]]
    return chosen


def covered(*factors: Sequence, ways: int = 2, fits: Callable[..., bool] = lambda *_: True) -> list:
    """Parameters of a test: all combinations that fit, of which those that are not `covering` are slow."""
    chosen = covering(*factors, ways=ways, fits=fits)
    found = []
    for row in itertools.product(*(range(len(factor)) for factor in factors)):
        values = tuple(map(_at, factors, row))
        if fits(*values):
            marks = [] if row in chosen else pytest.mark.slow
            found.append(pytest.param(*values, marks=marks, id="-".join(map(_name, values))))
    return found


def _at(factor: Sequence, place: int):
    return factor[place]


def _name(value) -> str:
    if isinstance(value, tuple):
        return "-".join(map(_name, value))
    plain = value is None or isinstance(value, str | int | float)
    return str(value) if plain else getattr(value, "__name__", type(value).__name__)
