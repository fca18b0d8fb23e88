"""`bitmosaic list`: what there is to work with on this machine."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

from bitmosaic.images import fashion_mnist, fashion_sample
from bitmosaic.images.fashion import DATA_VARIABLE, DEBIAN_FOLDER
from bitmosaic.pipelines import zoo_names
from bitmosaic.recipes import RECIPES


def list() -> dict[str, dict[str, str]]:
    """Names the pipelines that ship, the recipes for training, and the data found on this machine.

    Returns:
        Names and what they are, by kind.
    """
    found = {
        "pipelines": {name: f"ships with bitmosaic; 'bitmosaic info {name}' describes it" for name in zoo_names()},
        "recipes": {name: first_line(recipe) for name, recipe in RECIPES.items()},
        "data": data(),
    }
    for kind, entries in found.items():
        print(kind)
        for name, text in entries.items():
            print(f"  {name:<22}{text}")
        if not entries:
            print("  none")
    return found


def first_line(function) -> str:
    """What a function's docstring begins with."""
    return (inspect.getdoc(function) or "").split("\n")[0]


def data() -> dict[str, str]:
    """Sources of images that can be read here."""
    found = {"Fashion-MNIST test": f"{len(fashion_sample()):,} images, ship with bitmosaic"}
    named = os.environ.get(DATA_VARIABLE)
    problem = ""
    for place in ([Path(named)] if named else []) + [DEBIAN_FOLDER]:
        try:
            images = fashion_mnist(place)
        except ValueError as error:
            problem = problem or str(error)
        else:
            found["Fashion-MNIST train"] = f"{len(images):,} images in {place}"
            return found
    found["Fashion-MNIST train"] = f"not found ({problem.removeprefix('folder: ')})"
    return found
