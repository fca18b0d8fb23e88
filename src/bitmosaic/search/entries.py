"""The entries of an index: what its store and index.json say, whatever faiss makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bitmosaic.folders import write_json
from bitmosaic.images.contents import BYTES
from bitmosaic.search.about import FIRST, LOCK, read_about
from bitmosaic.search.vector_store import CHUNK, VectorStore
from bitmosaic.search.vectors import VectorSpec
from bitmosaic.spec import Spec


class Entries:
    """Images by their ids, CHUNK x number of the chunk + row; those that were taken out, or replaced by a later row of their name."""

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about, self.about_read, self.alone = folder, about, about, False
        self.spec: VectorSpec = Spec.from_json(about["vectors"], f"{folder / 'index.json'}: vectors")
        made = hashlib.sha256(f"{sorted(self.spec.to_json().items())} {about['fingerprint']}".encode()).hexdigest()
        self.store = VectorStore(folder / "chunks", made, self.spec.binary, about["format"] == FIRST)
        self._forget()

    def _forget(self) -> None:
        self._names, self._dead = None, None

    @contextmanager
    def for_moment(self) -> Iterator[None]:
        """Held alone, to write what was found to be missing. OSError where another holds it or has changed it, or where none may write."""
        with nullcontext() if self.alone else FileLock(self.folder / LOCK, timeout=0):
            if not self.alone and read_about(self.folder) != self.about_read:
                raise OSError("another process has changed the index")
            yield

    @property
    def first_version(self) -> bool:
        """Whether it is of the version that knew nothing of its files; it can be searched, and `bitmosaic index` makes it anew."""
        return self.about["format"] == FIRST

    @property
    def chunks(self) -> int:
        """In the store."""
        return len(self.store)

    def __len__(self) -> int:
        return len(self.present())

    def names(self) -> list[str]:
        """Of all images that were ever in the store, by their ids; "" where a chunk is not full."""
        if self._names is None:
            self._names = []
            for number in range(self.chunks):
                names = self.store.rows(number).names
                self._names += names + [""] * (CHUNK - len(names))
        return self._names

    def present(self) -> dict[str, int]:
        """Names of the images in the store, and their ids; not of those taken out."""
        removed, last = set(self.about["removed"]), {name: i for i, name in enumerate(self.names()) if name}
        return {name: i for name, i in last.items() if i not in removed}

    @property
    def removed(self) -> set[int]:
        """Ids, of those in the faiss index, that are no longer to be found: taken out, or replaced by a later row of their name."""
        if self._dead is None:
            names = self.names()[: CHUNK * self.about["indexed"]]
            last = {name: i for i, name in enumerate(names)}
            taken_out = {i for i in self.about["removed"] if i < len(names) and names[i]}
            self._dead = {i for i, name in enumerate(names) if name and last[name] != i} | taken_out
        return self._dead

    def findable(self) -> int:
        """How many images of the faiss index can be found."""
        chunks = min(self.about["indexed"], len(self.names()) // CHUNK)
        return sum(len(self.store.rows(number).names) for number in range(chunks)) - len(self.removed)

    def _known(self, ids: Iterable[int]) -> set[int]:
        """Those of some ids that can be found."""
        names, removed = self.names()[: CHUNK * self.about["indexed"]], self.removed
        return {i for i in ids if 0 <= i < len(names) and names[i] and i not in removed}

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Of some images, by their ids, in their order."""
        numbers, found = np.unique(ids // CHUNK), [np.empty((0, 0))] * len(ids)
        for number in numbers.tolist():
            held = self.store.vectors(number)
            for place in np.flatnonzero(ids // CHUNK == number).tolist():
                found[place] = held[ids[place] % CHUNK]
        return np.stack(found)

    def add(
        self, names: Sequence[str], vectors: np.ndarray, stats: np.ndarray | None = None, sums: np.ndarray | None = None,
        medians: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Puts at most CHUNK images in the store; `build` makes them findable. stats, sums: of their files, as `images.contents` has
        them. ValueError where vectors are of another kind.
        """
        if vectors.dtype != self.store.dtype or vectors.ndim != 2 or len(vectors) != len(names) or not 0 < len(names) <= CHUNK:
            raise ValueError(f"vectors: got {vectors.dtype} {vectors.shape} for {len(names)} names; want {self.store.dtype} (n, ...)")
        stats = np.full((len(names), 3), -1, np.int64) if stats is None else stats
        sums = np.zeros((len(names), BYTES), np.uint8) if sums is None else sums
        self.store.add(names, vectors, stats, sums, medians)
        self._names = None

    def empty(self, number: int) -> None:
        """Leaves nothing in a chunk."""
        self.store.empty(number)
        self._names = self._dead = None

    def write_about(self, **changed: Any) -> None:
        """Writes index.json with what has changed."""
        self.about = {**self.about, **changed}
        write_json(self.folder / "index.json", self.about)
        self.about_read = self.about
