"""Checksums of the files of a folder, kept with sizes and times so that a file is read once.

Two folders hold the same pictures where their checksums agree in order, whatever the files' names and times. A file is read again where its
size or one of its times has changed; its ctime cannot be set back.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmosaic.disk import whole_file
from bitmosaic.names import plain

THREADS, EACH = 8, 128  # readers at once, for remote storage; files of one task
FRESH = 2 * 10**9  # nanoseconds: a file changed so shortly before it was read may change again within its clock's resolution
BYTES = 16  # of a checksum: the first half of SHA-256
READ = 2**20  # bytes read at once
Look = tuple[tuple[int, int, int], Any]  # size and times of a file, and its checksum
UNREAD: Look = (-1, -1, -1), bytes(BYTES)


@dataclass(frozen=True)
class Contents:
    """names: paths below the folder, in order. stats (n, 3) int64: size, time of the content, time of the entry, in nanoseconds; -1 where
    a file could not be read or had just changed. sums (n, 16) uint8, zero where a file could not be read.
    """

    names: list[str]
    stats: np.ndarray
    sums: np.ndarray

    @staticmethod
    def of(root: Path, names: Sequence[str], kept: Contents | None = None, on_files: Callable[[int], object] = int) -> Contents:
        """Looks at every file, and reads those that are not as in `kept`. on_files: called with the number of files of each task when it
        ends.
        """
        known = {} if kept is None else dict(zip(kept.names, zip(map(tuple, kept.stats.tolist()), kept.sums, strict=True), strict=True))
        base, found = os.path.join(root, ""), []

        def look(some: Sequence[str]) -> list[Look]:
            return [_looked(base + name, known.get(name)) for name in some]

        with ThreadPoolExecutor(THREADS) as pool:
            for some in pool.map(look, [names[start : start + EACH] for start in range(0, len(names), EACH)]):
                found += some
                on_files(len(some))
        stats = np.array([stats for stats, _ in found], np.int64).reshape(-1, 3)
        return Contents(list(names), stats, np.frombuffer(b"".join(bytes(sum_) for _, sum_ in found), np.uint8).reshape(-1, BYTES))

    @staticmethod
    def load(path: Path) -> Contents | None:
        """What `save` wrote; None where it is missing or damaged, so that everything is read anew."""
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for ever
                return None
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                joined, stats, sums = (found[name] for name in ("names", "stats", "sums"))
            names = os.fsdecode(joined.tobytes()).split("\0") if len(joined) else []
            fits = joined.dtype == sums.dtype == np.uint8 and stats.dtype == np.int64
            fits = fits and stats.shape == (len(names), 3) and sums.shape == (len(names), BYTES)
            return Contents(names, stats, sums) if fits else None
        except Exception:  # of numpy, zip and the disk: too many kinds to name
            return None

    def save(self, path: Path) -> None:
        """Written beside, then renamed."""
        joined = np.frombuffer(b"\0".join(map(os.fsencode, self.names)), np.uint8)
        with whole_file(path) as beside, beside.open("wb") as file:
            np.savez(file, names=joined, stats=self.stats, sums=self.sums)

    def same_looks(self, other: Contents | None) -> bool:
        """Whether sizes, times and checksums are those of the other, so that it need not be written again."""
        return other is not None and self.names == other.names and np.array_equal(self.stats, other.stats)

    def changes(self, before: Contents) -> str:
        """The changes since `before`, as "1 added (b/new.png), 2 removed (a/1.png, a/2.png)"; empty where there are none."""
        then, now = before._by_name(), self._by_name()
        added, removed = sorted(now.keys() - then.keys()), sorted(then.keys() - now.keys())
        moved = sum((Counter(now[name] for name in added) & Counter(then[name] for name in removed)).values())
        changed = sorted(name for name in now.keys() & then.keys() if now[name] != then[name])
        parts = {"added": added, "removed": removed, "changed": changed}
        told = ", ".join(f"{len(names):,} {word} ({_some(names)})" for word, names in parts.items() if names)
        return told + (f"; {moved:,} of these under another name only" if moved else "")

    def _by_name(self) -> dict[str, bytes]:
        return {name: self.sums[i].tobytes() for i, name in enumerate(self.names)}


def _looked(path: str, held: Look | None) -> Look:
    """Size and times of a file, and its checksum, which is that of `held` (of an earlier look) where these are as they were."""
    try:
        found = os.stat(path)
        stats = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if held is not None and stats == held[0]:
            return held
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            return UNREAD
        begun, digest = time.time_ns(), hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while part := file.read(READ):
                digest.update(part)
    except OSError:
        return UNREAD
    return stats if stats[2] < begun - FRESH else UNREAD[0], digest.digest()[:BYTES]


def _some(names: list[str], most: int = 3) -> str:
    return plain(", ".join(names[:most])) + (", ..." if len(names) > most else "")
