"""An index on disk: a store of vectors in chunks, which is the truth, and a faiss index over them, which stock faiss opens.

    index.json            what it is, which chunks the faiss index holds, which images were taken out
    chunks/00000.safetensors   vectors, names and checksums of up to CHUNK images (see `vector_store`)
    medians.npy           of the features, where vectors are their signs: a copy of what the chunks hold
    index-00003.faiss     ids are CHUNK x number of the chunk + row; those of a chunk that is not full, and of images taken out, are missing
    index.lock            held by who writes

Everything is written beside, then renamed, index.json last: whatever stops a build, the next goes on after the last whole chunk. A faiss
index that is gone, damaged, or was made from other chunks is made again from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmosaic.disk import checksum, whole_file
from bitmosaic.names import plain
from bitmosaic.search.about import FORMAT, NEW, check_free, read_about
from bitmosaic.search.entries import Entries
from bitmosaic.search.structures import STRUCTURES, Faiss
from bitmosaic.search.vector_store import CHUNK, FOREIGN, Damaged
from bitmosaic.search.vectors import VectorSpec


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    id: int
    name: str
    distance: float  # bits that differ, or 2 - 2 cosine


class Index(Entries):
    """Opened by `open`, begun by `begin`. Who changes it holds its lock (see `locked`) and sets `alone`.

    mended: what was found damaged and was made again, as a line, or "".
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        super().__init__(folder, about)
        self.mended = ""

    def _forget(self) -> None:
        super()._forget()
        self._index = None

    @staticmethod
    def begin(
        folder: Path, spec: VectorSpec, structure: str, pipeline: str, fingerprint: str, root: str = "", background: str = ""
    ) -> Index:
        """An empty index in a new or empty folder, or around chunks whose index.json is gone.

        pipeline: what made the vectors, and its fingerprint; root: where images lie; background: what transparent ones were laid on.
        ValueError where there is something else, or for a structure that such vectors cannot have.
        """
        folder = Path(folder).expanduser()
        _check_structure(spec, structure)
        check_free(folder)
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        about = {
            "format": FORMAT, "vectors": spec.to_json(), "structure": structure, "pipeline": pipeline, "fingerprint": fingerprint,
            "root": root, **NEW, "background": background, "faiss": "", "indexed": 0, "removed": [],
        }  # fmt: skip
        found = Index(folder, about)
        if any(error.reason == FOREIGN for _, error in found.store.damaged()):
            raise ValueError(f"out: {plain(folder)} holds chunks of an index with other settings; give those, or another folder")
        found.write_about()
        return found

    @staticmethod
    def open(folder: Path) -> Index:
        """The index in a folder; ValueError says why there is none: Damaged where its index.json cannot be read."""
        folder = Path(folder).expanduser()
        if not (folder / "index.json").is_file():
            if (folder / "chunks").is_dir():
                raise Damaged(folder / "index.json", "is gone")
            raise ValueError(f"index: {folder} holds no index.json; give a folder that 'bitmosaic index' wrote")
        return Index(folder, read_about(folder))

    def remove(self, names: Iterable[str]) -> int:
        """Takes images out; how many there were. Their vectors leave the faiss index where its structure lets them."""
        present = self.present()
        ids = {present[name] for name in names if name in present}
        if ids:
            self.about = {**self.about, "removed": sorted({*self.about["removed"], *ids})}
            self._dead = None
            if self.about["faiss"]:
                index = self._load()
                index.remove(np.array(sorted(ids)))
                self._write(index)
            else:
                self.write_about()
        return len(ids)

    def upgrade(self) -> None:
        """Leaves behind what the first version wrote, once everything has been indexed anew; `build` does the rest."""
        for number in range(self.chunks):
            if not self.store.rows(number).body:
                self.store.empty(number)
        self.store.first = False
        self._forget()
        names = self.names()
        removed = [i for i in self.about["removed"] if names[i]]
        self.about = {**self.about, "format": FORMAT, "faiss": "", "indexed": 0, "removed": removed}

    def restructure(self, structure: str) -> None:
        """Takes another structure before anything is built; the chunks are the same for all. ValueError as `begin` has it."""
        _check_structure(self.spec, structure)
        self.write_about(structure=structure)

    def build(self) -> Iterator[int]:
        """Brings the faiss index up to the store; yields images done. What is in it already is not read again."""
        index, chunks = self._load() if self.about["faiss"] else None, self.chunks
        before = self.about["indexed"]  # all chunks, where it was made again just now
        if index is not None and before == chunks:
            return
        self.about, self._dead = {**self.about, "indexed": chunks}, None
        if index is None or (not index.forgets and len(index) > 2 * len(self)):
            index, before = Faiss.begun(self.store, self.about["structure"]), 0
        yield from self._fill(index, before)
        self._write(index)

    def _fill(self, index: Faiss, first: int) -> Iterator[int]:
        """Adds the chunks from `first` on, and takes out who is dead."""
        dead = np.array(sorted(self.removed), np.int64)
        for number in range(first, self.about["indexed"]):
            if names := self.store.rows(number).names:
                ids = np.arange(number * CHUNK, number * CHUNK + len(names))
                keep = ~np.isin(ids, dead)
                if keep.any():
                    index.add(self.store.vectors(number)[keep], ids[keep])
                yield len(names)
        index.remove(dead[dead < first * CHUNK])

    def search(self, vectors: np.ndarray, k: int = 10, leave_out: Sequence[Collection[int]] | None = None) -> list[list[Hit]]:
        """The k nearest images of each vector, nearest first; all where there are fewer. Structures that look at some of the images look
        at more where they found fewer.

        leave_out: for each vector, ids that are not to be found, as that of the image itself. ValueError where nothing was built.
        """
        if not self.about["faiss"]:
            raise ValueError(f"index: {self.folder} was begun but not built; the command that began it goes on where it was")
        if k < 1:
            raise ValueError(f"k: got {k}; want at least 1")
        index, vectors = self._load(), np.ascontiguousarray(vectors)
        if vectors.shape[1] * (8 if self.spec.binary else 1) != index.size:
            raise ValueError(f"vectors: got {vectors.shape}; this index holds vectors of {index.size}")
        out = [self._known(ids) for ids in leave_out] if leave_out is not None else [set()] * len(vectors)
        rows: list[list[Hit]] = [[] for _ in vectors]
        short, asked, effort = list(range(len(vectors))), k + max(map(len, out), default=0), 1
        while short := self._short(index, vectors, short, rows, out, k, asked, effort):
            if index.all_seen(asked, effort):
                break
            asked, effort = 2 * asked, 2 * effort
        if short and not index.forgets:  # a graph may have parts that nothing leads to
            exact = Faiss.begun(self.store, "flat")
            list(self._fill(exact, 0))
            self._short(exact, vectors, short, rows, out, k, len(exact), 1)
        return rows

    def _short(self, index: Faiss, vectors, short: list[int], rows: list[list[Hit]], out, k: int, asked: int, effort: int) -> list[int]:
        """Fills some rows; those of them that are shorter than they could be."""
        names, removed, alive = self.names(), self.removed, self.findable()
        for row, *near in zip(short, *index.nearest(vectors[short], asked, effort), strict=True):
            found = zip(*(x.tolist() for x in near), strict=True)
            rows[row] = [Hit(i, names[i], float(d)) for d, i in found if 0 <= i < len(names) and i not in removed and i not in out[row]][:k]
        return [row for row in short if len(rows[row]) < min(k, alive - len(out[row]))]

    def _load(self) -> Faiss:
        """The faiss index, read once; made again from the chunks where it cannot be, or was made from others. Damaged where these are."""
        while self._index is None:
            try:
                self._check_sum()
                found = Faiss.read(self.folder / self.about["faiss"], self.about["structure"], self.spec.binary)
                if not self.about["sum"] and found.forgets and len(found) != self.findable():
                    raise Damaged(self.folder / self.about["faiss"], f"holds {len(found)} images, the chunks others")
                self._index = found
            except Damaged as error:
                fresh = read_about(self.folder)
                if fresh == self.about_read:
                    return self._made_again(error)
                self.about = self.about_read = fresh  # another process has written since
                self._forget()
        return self._index

    def _made_again(self, error: Damaged) -> Faiss:
        self.about, self._dead = {**self.about, "indexed": self.chunks}, None
        index = Faiss.begun(self.store, self.about["structure"])
        list(self._fill(index, 0))
        self._index, self.mended = index, f"{error.path.name} {error.reason}: it was made again from the chunks"
        with suppress(OSError, NotImplementedError), self.for_moment():
            self._write(index)
        return index

    def _check_sum(self) -> None:
        """Damaged unless the faiss index is the one that was written, and the chunks those that it was made from."""
        path = self.folder / self.about["faiss"]
        if not path.is_file():
            raise Damaged(path, "is gone")
        if self.about["sum"] and checksum(path) != self.about["sum"]:
            raise Damaged(path, "is damaged, or of another index: its checksum is another")
        if self.about["shelf"] and self._store_sum() != self.about["shelf"]:
            raise Damaged(path, "was made from other chunks than there are")

    def _store_sum(self) -> str:
        bodies = [self.store.rows(number).body for number in range(min(self.about["indexed"], self.chunks))]
        return hashlib.sha256("".join(bodies).encode()).hexdigest()

    def _write(self, index: Faiss) -> None:
        old = self.about["faiss"]
        name = f"index-{int(old[6:11]) + 1 if old else 0:05d}.faiss"
        with whole_file(self.folder / name) as beside:
            index.write(beside)
            sum_ = checksum(beside)
        self.write_about(faiss=name, sum=sum_, shelf=self._store_sum())
        for path in self.folder.glob("index-*.faiss"):
            if path.name != name:
                path.unlink(missing_ok=True)
        self._index = index

def _check_structure(spec: VectorSpec, structure: str) -> None:
    if structure not in STRUCTURES[spec.binary]:
        raise ValueError(f"structure: got {structure!r}; by {spec.by} there are {', '.join(STRUCTURES[spec.binary])}")
