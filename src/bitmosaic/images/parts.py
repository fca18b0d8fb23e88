"""Detects sub-folders that are splits of a data set, such as train/ and val/, rather than classes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bitmosaic.names import plain

_PART = re.compile(r"(train|training|trainval|val|valid|validation|test|testing|eval|dev|holdout)(set|data|images?|imgs?|split)?")
_FILLING = {"", "set", "data", "dataset", "image", "images", "img", "imgs", "split", "seg", "folder"}


def check_no_parts(root: Path, classes: Iterable[str]) -> None:
    """ValueError where the sub-folders are splits of a data set, such as train/ and val/, rather than classes."""
    names = sorted(classes)
    parts = [name for name in names if is_part(name)]
    if len(parts) == len(names) or (len(parts) > 1 and any("train" in name.casefold() for name in parts)):
        raise ValueError(plain(
            f"path: {', '.join(parts)} in {root} are parts of a data set by their names, no classes; give one of them, such as "
            f"{root / parts[0]}, take all pictures without classes (--no-classes), or call the folders otherwise"))  # fmt: skip


def is_part(name: str) -> bool:
    """Whether a folder is named like a split of a data set: train, val2017, test_set; but not "train station"."""
    words = re.split(r"[^a-z]+", name.casefold())
    return any(_PART.fullmatch(word) for word in words) and all(word in _FILLING or _PART.fullmatch(word) for word in words)

