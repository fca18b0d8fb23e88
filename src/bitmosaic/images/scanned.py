"""A folder's scan, cached in a file: made again only where a folder below it has changed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from bitmosaic.disk import whole_file
from bitmosaic.folders import parse_json

from .formats import endings
from .scan import Scan, scan
from .walk import UnusedFiles


def kept_scan(root: Path, path: Path, classes: bool = True) -> Scan:
    """The scan in the file `path`, where the times of all folders in it are as they were; else a new one, which is put there.

    A picture that is written anew under its old name is not noticed: only which names there are. ValueError as from `scan`.
    """
    root = Path(root).expanduser().resolve()
    found = _kept(root, path, classes)
    if found is not None:
        return found
    entered: dict[Path, int] = {}
    found = scan(root, classes, entered)
    value = {
        "root": str(root), "folders": {str(folder): time for folder, time in entered.items()}, "names": found.names,
        "labels": None if found.labels is None else found.labels.tolist(), "class_names": list(found.class_names),
        "classes": classes, "endings": sorted(endings()), "left": asdict(found.left),
    }  # fmt: skip
    with whole_file(path) as beside:
        beside.write_text(json.dumps(value), encoding="utf-8")
    return found


def _kept(root: Path, path: Path, classes: bool) -> Scan | None:
    """What the file holds, if that is still so; a file that is damaged, or older than its fields, is as none."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        asked = value["root"], value["classes"], value["endings"]
        if asked != (str(root), classes, sorted(endings())) or any(os.stat(f).st_mtime_ns != time for f, time in value["folders"].items()):
            return None
        labels = None if value["labels"] is None else torch.tensor(value["labels"], dtype=torch.int64)
        return Scan(root, [*map(str, value["names"])], labels, tuple(value["class_names"]), UnusedFiles(**value["left"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
