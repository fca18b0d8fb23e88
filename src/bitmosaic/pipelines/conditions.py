"""Conditions and seeds as callers give them, checked and paired, one of each an image."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from bitmosaic.conditions.base import ConditionReader
from bitmosaic.conditions.classes import SHIFTED
from bitmosaic.values import value, values

Condition = None | int | str | dict[Any, float] | Sequence  # nothing, a class, a prompt, a blend; or several of these, one an image
Seeds = None | int | Sequence[int]


def is_single(condition: Condition) -> bool:
    """Whether it is the condition of one image, not of several in a row."""
    return condition is None or isinstance(condition, Integral | str | dict)


def of_windows(condition: Condition, reader: ConditionReader) -> Any:
    """The condition of windows of a larger canvas: the given one or, for None, that of shifted images where the prior learned it."""
    return SHIFTED if reader.shifted and value(condition) is None else condition


def pairs(condition: Condition, seeds: Seeds) -> tuple[list, list[int]]:
    """As many conditions as seeds: one of either is repeated for all of the other; None are seeds 0, 1, 2, ... ValueError for other
    lengths.
    """
    condition, seeds = value(condition), value(seeds)
    conditions = [condition] if is_single(condition) else values(condition, "condition")
    if not conditions:
        raise ValueError("condition: got an empty list; give a class or a prompt, None for nothing, or one an image")
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
    """One random generator an image, so that an image depends on its seed, not on its batch."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def check_class_names(class_names: Sequence[str], classes: int) -> None:
    """ValueError unless there are no names or as many as classes."""
    if class_names and len(class_names) != classes:
        raise ValueError(f"class_names: got {len(class_names)} names for a prior of {classes} classes")
