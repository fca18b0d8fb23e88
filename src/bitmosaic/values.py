"""Classes and seeds as users hold them: Python's numbers and names, or tensors and arrays of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def value(given: Any) -> Any:
    """The number in a tensor or array without dimensions; anything else as it is."""
    return given.item() if isinstance(given, torch.Tensor | np.ndarray | np.generic) and given.ndim == 0 else given


def values(given: Any, name: str) -> list:
    """The elements of a sequence, each through `value`. ValueError, which names the argument `name`, for what is no 1-D sequence."""
    if isinstance(given, torch.Tensor | np.ndarray):
        if given.ndim != 1:
            raise ValueError(f"{name}: got numbers of shape {tuple(given.shape)}; give one, or one a picture")
        return given.tolist()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{name}: got {given!r}, a {type(given).__name__}; give a list, or a tensor or array of numbers")
    return [value(one) for one in given]
