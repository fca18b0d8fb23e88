"""One walk through a folder: which files are pictures, and what is passed over, by reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from bitmosaic.names import plain

from .formats import endings, unread
from .write import written_as_sheet

HIDDEN = "hidden (their names begin with a dot)"
PIPES = "pipes, sockets or devices"
SHEETS = "drawn by bitmosaic as sheets"
SHOWN = 8  # kinds of files that are named in a report
EXAMPLES = 3  # names of each kind


@dataclass
class UnusedFiles:
    """Files that are not used: for each reason their number and the names of the first ones."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str = "") -> None:
        """One more file; without a name, where its ending says enough."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        some = self.first.setdefault(reason, [])
        if name and len(some) < EXAMPLES:
            some.append(name)

    def text(self) -> str:
        """One line: the most frequent reasons first; empty where nothing is left."""
        reasons = sorted(self.counts, key=lambda reason: (_is_other(reason), -self.counts[reason]))
        parts = [f"{self.counts[reason]:,} {reason}{_named(self.first.get(reason, []), self.counts[reason])}" for reason in reasons]
        more = sum(self.counts[reason] for reason in reasons[SHOWN:])
        return plain(", ".join(parts[:SHOWN]) + (f", and {more:,} other files" if more else ""))


class Walk:
    """One walk through a folder: names of pictures below the root, and what is passed over."""

    def __init__(self, root: Path, entered: dict[Path, int], known: Collection[str] = ()):
        self.root, self.entered, self.left, self.known = root, entered, UnusedFiles(), known or endings()

    def below(self, folder: Path, seen: set[tuple[int, int]]) -> list[str]:
        """Pictures at any depth. Each real folder is entered once, by its own name first: links cannot lead in circles."""
        found, linked, waiting = [], [], [folder]
        while waiting or linked:
            here = waiting.pop() if waiting else linked.pop()
            if (own := identity(here)) in seen:
                continue
            seen.add(own)
            files, folders = self.listed(here)
            found += files
            for one in reversed(folders):
                (linked if one.is_symlink() else waiting).append(one)
        return found

    def listed(self, folder: Path) -> tuple[list[str], list[Path]]:
        """Names, below the root, of the pictures directly in a folder, and its sub-folders, sorted."""
        try:
            self.entered[folder] = folder.stat().st_mtime_ns  # before it is listed: what comes later changes it
            with os.scandir(folder) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise ValueError(plain(f"path: cannot list {folder} ({error.strerror}); make it readable, or take it away")) from error
        files, folders = [], []
        for entry in entries:
            kind = _kind(entry)
            if kind == "folder":
                if not entry.name.startswith("."):
                    folders.append(folder / entry.name)
                continue
            name = (folder / entry.name).relative_to(self.root).as_posix()
            reason, shown = self._reason(entry, kind)
            if reason:
                self.left.add(reason, name if shown else "")
            else:
                files.append(name)
        return files, folders

    def _reason(self, entry: os.DirEntry, kind: str) -> tuple[str, bool]:
        """Why a file is passed over, and whether it is named; empty where it is taken."""
        ending = os.path.splitext(entry.name)[1].lower()
        picture = ending in self.known
        if entry.name.startswith("."):
            return (HIDDEN, True) if picture else ("hidden files", False)
        if kind == "pipe":
            return PIPES, True
        if not picture:
            return unread(ending) or (f"{ending} files" if ending else "files without an ending"), False
        return (SHEETS, True) if written_as_sheet(entry.path) else ("", False)


def _kind(entry: os.DirEntry) -> str:
    """folder, file (a link that leads nowhere too: it may be mended) or pipe."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        mode = entry.stat().st_mode
    except OSError:
        return "file"
    return "file" if stat.S_ISREG(mode) else "pipe"


def identity(folder: Path) -> tuple[int, int]:
    """Device and inode, which identify a folder under any name."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _is_other(reason: str) -> bool:
    """Whether a reason is about files other than pictures, which are reported last."""
    return reason.endswith(" files") or reason == "files without an ending"


def _named(some: list[str], count: int) -> str:
    return f" ({', '.join(some)}{', ...' if count > len(some) else ''})" if some else ""

