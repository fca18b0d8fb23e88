"""The files of the images of an index: their contents when they were encoded, and their folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from bitmosaic.images.contents import BYTES, Contents
from bitmosaic.search.index import Index
from bitmosaic.search.vector_store import CHUNK

LOOKED_FOR = 20  # images by which a folder is known again


def known(found: Index) -> Contents:
    """What was known of the files of all `present` when they were looked at."""
    present, rows = found.present(), [found.store.rows(number) for number in range(found.chunks)]
    stats, sums = np.full((CHUNK * len(rows), 3), -1, np.int64), np.zeros((CHUNK * len(rows), BYTES), np.uint8)
    for number, row in enumerate(rows):
        stats[CHUNK * number :][: len(row.names)], sums[CHUNK * number :][: len(row.names)] = row.stats, row.sums
    ids = np.array(list(present.values()), np.int64)
    return Contents(list(present), stats[ids], sums[ids])


def note(found: Index, contents: Contents) -> None:
    """Notes sizes and times of files whose content is as it was, so that they are not read again only to find that out."""
    present, seen = found.present(), dict(zip(contents.names, zip(contents.stats, contents.sums, strict=True), strict=True))
    for number in range(found.chunks):
        rows = found.store.rows(number)
        stats = rows.stats.copy()
        for row, name in enumerate(rows.names):
            if present.get(name) == number * CHUNK + row and name in seen:
                now, sum_ = seen[name]
                if now[0] >= 0 and np.array_equal(sum_, rows.sums[row]):
                    stats[row] = now
        if not np.array_equal(stats, rows.stats):
            found.store.note(number, stats)


def move(found: Index, root: str) -> None:
    """Says where the images lie now, and where that is from the index."""
    beside = ""
    with suppress(ValueError):  # on another drive
        beside = os.path.relpath(root, found.folder.resolve())
    if (root, beside) != (found.about["root"], found.about["beside"]):
        found.write_about(root=root, beside=beside)


def root_of(found: Index) -> Path | None:
    """The folder that the images lie in, found again where it has moved together with the index; None where they have no files."""
    if not found.about["root"]:
        return None
    names = [name for name in found.names()[:CHUNK] if name][:LOOKED_FOR]
    places = [(found.folder / found.about["beside"]).resolve(), Path(found.about["root"])][not found.about["beside"] :]
    there = [path for path in places if any((path / name).exists() for name in names)]
    return there[0] if there else places[-1]
