"""Pipelines by name or folder: those that ship with the package, and those on disk."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

DEFAULT = "fashion"  # the pipeline where none is named

def zoo_names() -> list[str]:
    """The pipelines that ship with the package."""
    return sorted(p.parent.name for p in _zoo().glob("*/config.json"))


def find_pipeline(path: str | Path) -> Path:
    """The folder of a pipeline: a path, or the name of one in the zoo. ValueError where there is none."""
    folder = Path(path)
    if (folder / "config.json").is_file():
        return folder
    if str(path) in zoo_names():
        return _zoo() / str(path)
    if folder.exists():
        raise ValueError(f"{folder} holds no config.json, so it is no pipeline")
    raise ValueError(f"no pipeline {path}: not a folder, and the zoo has {', '.join(zoo_names()) or 'none'}")


def _zoo() -> Path:
    return Path(str(resources.files("bitmosaic") / "zoo"))
