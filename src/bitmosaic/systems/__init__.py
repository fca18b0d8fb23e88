"""Published systems, a folder each: its paper, recipes to train it, and its claim, which `bitmosaic reproduce NAME` repeats.

A folder is found by being here; docs/own.md walks through one. Its `__init__.py` describes the system (`SYSTEM`), its
`claim.py` repeats the claim (`CLAIM`), its `card.md` has the text of its page besides the figures. Folders of your own are found where the
environment variable BITMOSAIC_SYSTEMS names the folder that holds them.
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
    """The systems that are here, in the order of the alphabet."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def system(name: str) -> System:
    """A system by name; ValueError where there is none."""
    if name not in names():
        raise ValueError(f"no system {name!r}; there are {', '.join(names())}")
    return import_module(f"{__name__}.{name}").SYSTEM


def recipes() -> dict[str, Callable[..., Run]]:
    """What `bitmosaic train` trains, by name."""
    return {name: recipe for own in names() for name, recipe in system(own).recipes.items()}
