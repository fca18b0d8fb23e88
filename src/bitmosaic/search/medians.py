"""The medians of features that define the bits of an index by `bits`: stored in every chunk, and in a file for other programs."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from bitmosaic.disk import whole_file
from bitmosaic.folders import read_array
from bitmosaic.search.index import Index
from bitmosaic.search.vector_store import Damaged


def medians(found: Index) -> np.ndarray | None:
    """Of the features, (D,) float32, where vectors are their signs; else None. Damaged where no chunk and no file holds them.

    The file is written again where it is gone, or says something else than the chunks.
    """
    if found.spec.by != "bits":
        return None
    path, held = found.folder / "medians.npy", found.store.medians()
    try:
        here = np.array(read_array(path, 1, np.float32))
    except ValueError as error:
        if held is None:
            raise Damaged(path, "is gone or damaged, and no chunk holds a copy") from error
        here = None
    if held is None or (here is not None and np.array_equal(here, held)):
        return here
    with suppress(OSError, NotImplementedError), found.for_moment():
        write_medians(found, held)
    found.mended = "medians.npy was gone, damaged or of another index: it was made again from the chunks"
    return held


def write_medians(found: Index, medians: np.ndarray) -> None:
    """The file, written beside, then renamed."""
    with whole_file(found.folder / "medians.npy") as beside, beside.open("wb") as file:
        np.save(file, medians)
