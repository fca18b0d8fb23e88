"""`bitmosaic list`: pipelines, recipes, data sets and systems on this machine."""

from __future__ import annotations

import inspect
from typing import Annotated, Literal

import tyro

from bitmosaic import systems
from bitmosaic.images import NAMED_SETS
from bitmosaic.pipelines import zoo_names

What = Annotated[Literal["all", "pipelines", "systems", "recipes", "data"], tyro.conf.Positional]


def list(what: What = "all") -> dict[str, dict[str, str]]:
    """Lists the shipped pipelines, the published systems with the state of their claims, the recipes for training, and the data sets.

    Args:
        what: a single kind, or all.

    Returns:
        Names and what they are, by kind.
    """
    kinds = {"pipelines": pipelines, "systems": published, "recipes": recipes, "data": data}
    found = {kind: entries() for kind, entries in kinds.items() if what in ("all", kind)}
    for kind, entries in found.items():
        print(kind)
        for name, text in entries.items():
            print(f"  {name:<22}{text}")
        if not entries:
            print("  none")
    return found


def pipelines() -> dict[str, str]:
    """The pipelines that ship."""
    return {name: f"ships with bitmosaic; 'bitmosaic info {name}' describes it" for name in zoo_names()}


def published() -> dict[str, str]:
    """The published systems, and whether their claims held when their pages were made."""
    every = [systems.system(name) for name in systems.names()]
    return {system.name: f"{system.what}; {system.state}" for system in every}


def recipes() -> dict[str, str]:
    """The recipes of `bitmosaic train`."""
    return {name: first_line(recipe) for name, recipe in systems.recipes().items()}


def first_line(function) -> str:
    """The first line of a function's docstring."""
    return (inspect.getdoc(function) or "").split("\n")[0]


def data() -> dict[str, str]:
    """The named sets of images, and whether they can be read on this machine."""
    found = {}
    for name, named in NAMED_SETS.items():
        try:
            found[name] = f"{named.about}: {named.load().summary()}"
        except ValueError as error:
            found[name] = f"{named.about}: not found ({str(error).removeprefix('folder: ')})"
    return found
