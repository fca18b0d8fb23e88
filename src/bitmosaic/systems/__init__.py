"""Published systems, a folder each: its paper, recipes to train it, and its claim, which `bitmosaic reproduce NAME` repeats.

Every sub-package is a system; docs/own.md walks through one. Its `__init__.py` describes the system (`SYSTEM`), its `claim.py` repeats the
claim (`CLAIM`), its `card.md` has the text of its page besides the figures. The environment variable BITMOSAIC_SYSTEMS names further
folders to look for systems in, separated as in PATH.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable
from importlib import import_module

from bitmosaic.systems.base import System
from bitmosaic.train.run import Run

__all__ = ["System", "names", "recipes", "system"]

__path__ += [folder for folder in os.environ.get("BITMOSAIC_SYSTEMS", "").split(os.pathsep) if folder]  # systems of one's own


def names() -> list[str]:
    """The names of all systems, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def system(name: str) -> System:
    """A system by name. ValueError for an unknown name, with those that exist."""
    if name not in names():
        raise ValueError(f"no system {name!r}; give one of {', '.join(names())}")
    return import_module(f"{__name__}.{name}").SYSTEM


def recipes() -> dict[str, Callable[..., Run]]:
    """The recipes of all systems, by the name that `bitmosaic train` takes."""
    return {name: recipe for own in names() for name, recipe in system(own).recipes.items()}
