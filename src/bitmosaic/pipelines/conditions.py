"""Conditions and seeds as callers give them: checked, one of each an image, and as the labels that a network is given."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from bitmosaic.names import composed
from bitmosaic.values import value, values

Condition = None | int | str | dict[Any, float] | Sequence  # no class, one, a blend of some; or several of these, one an image
Seeds = None | int | Sequence[int]


def is_single(condition: Condition) -> bool:
    """Whether it is the condition of one image, not of several in a row."""
    return condition is None or isinstance(condition, Integral | str | dict)


def pairs(condition: Condition, seeds: Seeds) -> tuple[list, list[int]]:
    """As many conditions as seeds: one of either goes with all of the other; no seeds are 0, 1, 2, ... ValueError where they do not fit."""
    condition, seeds = value(condition), value(seeds)
    conditions = [condition] if is_single(condition) else values(condition, "condition")
    if not conditions:
        raise ValueError("condition: got an empty list; give a class, None for no class, or one an image")
    seeds = list(range(len(conditions))) if seeds is None else [seeds] if isinstance(seeds, Integral) else values(seeds, "seeds")
    wrong = [seed for seed in seeds if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**63]
    if wrong or not seeds:
        raise ValueError(f"seeds: got {repr(wrong[0]) if wrong else 'none'}; want whole numbers from 0 to 2^63 - 1, one at least")
    if len(conditions) == 1:
        conditions = conditions * len(seeds)
    if len(seeds) == 1 and len(conditions) > 1:
        seeds = seeds * len(conditions)
    if len(conditions) != len(seeds):
        raise ValueError(f"got {len(conditions)} conditions and {len(seeds)} seeds; want as many of each, or one of either")
    return conditions, [int(seed) for seed in seeds]


def generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
    """One an image, so that an image is its seed's whatever its batch."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def labels(conditions: Sequence, class_names: Sequence[str]) -> Tensor | None:
    """Class weights (b, classes + 1) where any image blends, the last the null class's, else class numbers (b,); None: no image has one.

    ValueError for a class that there is not, a blend of none, or any class where there are none.
    """
    if all(c is None for c in conditions):
        return None
    if not class_names:
        raise ValueError(f"condition: got {next(c for c in conditions if c is not None)!r}; this pipeline was trained without classes")
    if any(isinstance(c, dict) for c in conditions):
        rows = torch.zeros(len(conditions), len(class_names) + 1)
        for row, c in zip(rows, conditions, strict=True):
            if isinstance(c, dict) and not c:
                raise ValueError("condition: got a blend of no class; give weights, such as {'bag': 0.5, 'sandal': 0.5}")
            for name, weight in c.items() if isinstance(c, dict) else [(c, 1.0)]:
                row[class_number(name, class_names)] += float(weight)
        return rows
    return torch.tensor([class_number(c, class_names) for c in conditions])


def class_number(name: int | str | None, class_names: Sequence[str]) -> int:
    """The number of a class given by number or name; None is the null class, which follows the last. ValueError where there is none."""
    name = value(name)
    if name is None:
        return len(class_names)
    if isinstance(name, str):
        numbers = _numbers(name, class_names)
        if len(numbers) > 1:
            raise ValueError(f"condition: {len(numbers)} classes are called {name!r}; give a number, {' or '.join(map(str, numbers))}")
        if numbers:
            return numbers[0]
        if name.isascii() and name.isdecimal():
            name = int(name)
    if isinstance(name, Integral) and not isinstance(name, bool) and 0 <= name < len(class_names):
        return int(name)
    raise ValueError(f"condition: no class {name!r}; classes are {listed(class_names)}")


def check_class_names(class_names: Sequence[str], classes: int) -> None:
    """ValueError unless there are no names or as many as classes."""
    if class_names and len(class_names) != classes:
        raise ValueError(f"class_names: got {len(class_names)} names for a prior of {classes} classes")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Numbered names, the first ones of very many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{i} {name}" for i, name in enumerate(names[:most])) + more


def _numbers(name: str, class_names: Sequence[str]) -> list[int]:
    """Of the classes of that name: of that very spelling, or else of one that differs in how accents are written alone."""
    exact = [i for i, own in enumerate(class_names) if own == name]
    return exact or [i for i, own in enumerate(class_names) if composed(own) == composed(name)]
