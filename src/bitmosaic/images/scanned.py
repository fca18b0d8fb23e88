"""A folder of pictures as a list that is kept: scanned once, and again only where a folder below it has changed."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bitmosaic.folders import parse_json

from .folder import listed, scan


@dataclass(frozen=True)
class Scan:
    """The pictures below `root`: their paths below it, in order, classes, and how many lie beside the classes."""

    root: Path
    names: list[str]
    labels: Tensor | None  # (n,) int64
    class_names: tuple[str, ...]
    beside: int

    def fingerprint(self) -> str:
        """Over the names and classes."""
        digest = hashlib.sha256(repr(self.class_names).encode(errors="surrogateescape"))
        digest.update("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        return digest.hexdigest()


def kept_scan(root: Path, path: Path) -> Scan:
    """The scan in the file `path`, where the times of all folders in it are as they were; else a new one, which is put there.

    A picture that is written anew under its old name is not noticed: only which names there are. ValueError as from `scan`.
    """
    root = Path(root).expanduser().resolve()
    found = _kept(root, path)
    if found is not None:
        return found
    entered: dict[Path, int] = {}
    files, labels, class_names = scan(root, entered)
    names = [file.relative_to(root).as_posix() for file in files]
    beside = len(listed(root)[0]) if class_names else 0
    value = {
        "root": str(root), "folders": {str(folder): time for folder, time in entered.items()}, "names": names,
        "labels": None if labels is None else labels.tolist(), "class_names": list(class_names), "beside": beside,
    }  # fmt: skip
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    new.write_text(json.dumps(value), encoding="utf-8")
    new.rename(path)
    return Scan(root, names, labels, class_names, beside)


def _kept(root: Path, path: Path) -> Scan | None:
    """What the file holds, if that is still so; a file that is damaged is as none."""
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        if value["root"] != str(root) or any(os.stat(folder).st_mtime_ns != time for folder, time in value["folders"].items()):
            return None
        labels = None if value["labels"] is None else torch.tensor(value["labels"], dtype=torch.int64)
        return Scan(root, [*map(str, value["names"])], labels, tuple(value["class_names"]), int(value["beside"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return None
