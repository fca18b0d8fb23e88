"""Scans a folder for pictures, the same for every command: their classes, and what is passed over.

A class is a direct sub-folder, with its pictures at any depth. Without classes every picture below the folder is taken.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bitmosaic.names import composed, plain

from .parts import check_no_parts
from .walk import UnusedFiles, Walk, identity

BESIDE = "beside the classes, in none of them"
SHOWN = 8  # classes that are named in a report


@dataclass(frozen=True)
class Scan:
    """The pictures below `root`: their paths below it, with slashes, sorted; labels (n,) int64 and class names, or neither."""

    root: Path
    names: list[str]
    labels: Tensor | None
    class_names: tuple[str, ...]
    left: UnusedFiles
    noun: str = "picture"  # what messages call the files

    @property
    def files(self) -> list[Path]:
        """The paths of the pictures."""
        return [self.root / name for name in self.names]

    @property
    def beside(self) -> int:
        """Pictures that lie beside the classes, in none of them."""
        return self.left.counts.get(BESIDE, 0)

    def fingerprint(self) -> str:
        """SHA-256 over names and classes."""
        digest = hashlib.sha256(repr(self.class_names).encode(errors="surrogateescape"))
        digest.update("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        return digest.hexdigest()

    def told(self) -> list[str]:
        """Lines for people: what is used, as which classes, and what is not used, and why."""
        what = "no classes"
        if self.labels is not None:
            each = torch.bincount(self.labels, minlength=len(self.class_names)).tolist()
            named = some([f"{name} {count:,}" for name, count in zip(self.class_names, each, strict=True)])
            what = f"{len(each):,} {'class' if len(each) == 1 else 'classes'}: {named}"
        lines = [f"{len(self.names):,} {self.noun if len(self.names) == 1 else self.noun + 's'} in {self.root}, {what}"]
        if self.left.counts:
            lines.append(f"not used: {self.left.text()}")
        if self.beside:
            what = f"{self.noun}s"
            lines.append(f"{what} beside the classes: put them into a sub-folder, or take all {what} without classes, by --no-classes")
        if same := self._same_below():
            lines.append(f"every class holds the folders {same}: if these are the classes, name one of the folders above them")
        return [plain(line) for line in lines]

    def _same_below(self) -> str:
        """Folders that each of several classes has with pictures in them, as data sets that are split have; empty where there are none."""
        if len(self.class_names) < 2:
            return ""
        below: dict[str, set[str]] = {}
        for parts in (name.split("/") for name in self.names):
            below.setdefault(parts[0], set()).update(parts[1:-1][:1])
        same = sorted(set.intersection(*below.values()))
        return ", ".join(same[:SHOWN]) if len(same) > 1 else ""


def scan(
    path: str | os.PathLike, classes: bool = True, entered: dict[Path, int] | None = None, known: Collection[str] = ()
) -> Scan:  # fmt: skip
    """Finds the pictures below a folder, or files with the endings `known`. classes: whether sub-folders are classes; where not, all
    pictures below are taken.

    Passed over and counted: hidden names (that begin with a dot); endings of formats that are not read; pipes, sockets and devices; sheets
    that bitmosaic drew; pictures beside the classes. A linked folder is entered like any other, once in a class. Class names are text in
    NFC, escaped where they are not UTF-8, and numbered by name or, where all are whole numbers, by value. entered: is filled with each
    folder visited, and its mtime. ValueError says what the folder lacks.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        what, many = "is not a folder" if root.exists() else "does not exist", "files" if known else "images"
        raise ValueError(plain(f"path: {root} {what}; give a folder of {many}, or of one sub-folder of {many} for each class"))
    walk, noun = Walk(root, {} if entered is None else entered, known), "file" if known else "picture"
    if not classes:
        found = walk.below(root, set())
        return Scan(root, _sorted(found), None, (), walk.left, noun) if found else _refuse(root, walk.left, known)
    loose, folders = walk.listed(root)
    held = {folder: walk.below(folder, {identity(root)}) for folder in folders}
    if not any(held.values()):
        return Scan(root, _sorted(loose), None, (), walk.left, noun) if loose else _refuse(root, walk.left, known)
    named: dict[str, list[str]] = {}
    for folder, names in held.items():
        if not names:
            own = Walk(folder, {}, known)
            own.below(folder, set())
            why = f" ({own.left.text()})" if own.left.counts else ""
            raise ValueError(plain(f"path: class {folder.name!r} of {root} has no image{why}; put one in, or take the sub-folder away"))
        named.setdefault(class_name(folder.name), []).extend(names)
    check_no_parts(root, named)
    for name in loose:
        walk.left.add(BESIDE, name)
    class_names = in_order(named)
    numbers = {file: number for number, name in enumerate(class_names) for file in named[name]}
    files = _sorted(numbers)
    return Scan(root, files, torch.tensor([numbers[file] for file in files]), class_names, walk.left, noun)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in the order of their numbers: as whole numbers where all are, else as text."""
    names = list(names)
    if all(re.fullmatch("[0-9]{1,18}", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def class_name(folder: str) -> str:
    """A folder's name as text that can be typed and printed: composed (NFC), bytes that are no UTF-8 escaped as in "caf\\xe9"."""
    return composed(os.fsencode(folder).decode("utf-8", "backslashreplace"))


def some(names: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    return plain(", ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""))


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.split("/"))


def _refuse(root: Path, left: UnusedFiles, known: Collection[str]) -> Scan:
    held = f" ({left.text()})" if left.counts else ""
    what = "is empty" if not left.counts and not os.listdir(root) else "holds none of these files" if known else "holds no images"
    raise ValueError(plain(f"path: {root} {what}{held}; put in files such as {', '.join(known) if known else '.png or .jpg'}"))
