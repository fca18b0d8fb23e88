"""One interface to faiss indexes of each structure: building, adding, removing, and searching more widely where too little was found."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bitmosaic.search.vector_store import Damaged, VectorStore

STRUCTURES = {True: ("flat", "ivf", "hnsw"), False: ("flat", "ivf-pq")}  # of binary vectors and of floats
LISTS, LEARNED = 1024, 64  # of IVF at most, and vectors for each that they are learned from: k-means holds all of these as floats
FEWEST = 1000  # images that ivf-pq takes
BEAM = 16  # of HNSW, at least: candidates that a search keeps


class Faiss:
    """A faiss index of one structure."""

    def __init__(self, index: Any, structure: str):
        self.index, self.structure = index, structure
        self.probe = max(1, index.nprobe) if structure.startswith("ivf") else 0

    @staticmethod
    def begun(store: VectorStore, structure: str) -> Faiss:
        """An empty one for vectors such as those in a store, its lists learned from these where it has lists."""
        faiss, binary = library(), store.dtype == np.uint8
        held = [number for number in range(len(store)) if store.rows(number).names]
        if not held:
            raise Damaged(store.folder, "holds no vectors any more")
        count, size = sum(len(store.rows(number).names) for number in held), store.vectors(held[0]).shape[1]
        lists = max(1, min(round(4 * math.sqrt(count)), count // 39, LISTS))
        if binary:
            index = faiss.index_binary_factory(8 * size, {"flat": "BFlat", "ivf": f"BIVF{lists}", "hnsw": "BHNSW32"}[structure])
        else:
            if structure == "ivf-pq" and count < FEWEST:
                raise ValueError(f"structure: ivf-pq learns from the images, at least {FEWEST} of them; here are {count}; take flat")
            quantizer = max(m for m in (1, 2, 4, 8, 16, 32, 48, 64, 96) if m == 1 or (size % m == 0 and size // m >= 4))
            bits = 8 if count >= 39 * 256 else 4
            index = faiss.index_factory(size, {"flat": "Flat", "ivf-pq": f"IVF{lists},PQ{quantizer}x{bits}"}[structure])
        if not index.is_trained:
            each = max(1, math.ceil(LEARNED * lists / len(held)))
            index.train(np.concatenate([store.vectors(number)[:each] for number in held]))
        if structure.startswith("ivf"):
            index.nprobe = max(1, lists // 8)
        else:
            index = faiss.IndexBinaryIDMap2(index) if binary else faiss.IndexIDMap2(index)
        return Faiss(index, structure)

    @staticmethod
    def read(path: Path, structure: str, binary: bool) -> Faiss:
        """From a file; Damaged where it is none, or of another structure."""
        faiss = library()
        try:
            if _is_text(path):
                index = (faiss.read_index_binary if binary else faiss.read_index)(str(path))
            else:
                index = (faiss.deserialize_index_binary if binary else faiss.deserialize_index)(np.fromfile(path, np.uint8))
            found = Faiss(index, structure)
            found._inner()
        except (RuntimeError, MemoryError, AttributeError) as error:
            raise Damaged(path, f"is no index of faiss, or damaged ({_last_words(error)})") from error
        return found

    def write(self, path: Path) -> None:
        """OSError where it cannot be."""
        faiss = library()
        binary = isinstance(self.index, faiss.IndexBinary)
        try:
            if _is_text(path):
                (faiss.write_index_binary if binary else faiss.write_index)(self.index, str(path))
            else:
                path.write_bytes((faiss.serialize_index_binary if binary else faiss.serialize_index)(self.index))
        except RuntimeError as error:
            raise OSError(f"{path} cannot be written ({_last_words(error)})") from error

    @property
    def size(self) -> int:
        """Bits or floats of a vector."""
        return self.index.d

    def __len__(self) -> int:
        return self.index.ntotal

    @property
    def forgets(self) -> bool:
        """Whether vectors can be taken out."""
        return self.structure != "hnsw"

    def add(self, vectors: np.ndarray, ids: np.ndarray) -> None:
        self.index.add_with_ids(np.ascontiguousarray(vectors), ids.astype(np.int64))

    def remove(self, ids: np.ndarray) -> None:
        """Ids that are not there are passed over."""
        if len(ids) and self.forgets:
            self.index.remove_ids(ids.astype(np.int64))

    def nearest(self, vectors: np.ndarray, k: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and ids (n, k), -1 where there are fewer. effort: how many times as much is looked at as by default."""
        k, inner = max(1, min(k, len(self))), self._inner()
        if self.probe:
            inner.nprobe = min(effort * self.probe, inner.nlist)
        if self.structure == "hnsw":
            inner.hnsw.efSearch = max(effort * BEAM, k)
        found = self.index.search(np.ascontiguousarray(vectors), k)
        if self.probe:
            inner.nprobe = self.probe
        return found

    def all_seen(self, k: int, effort: int) -> bool:
        """Whether no greater effort, nor more than k, would find more."""
        widest = effort * self.probe >= self._inner().nlist if self.probe else effort * BEAM >= len(self) or self.structure == "flat"
        return k >= len(self) and widest

    def _inner(self) -> Any:
        """The part that has lists or a graph. AttributeError where the index is of another structure."""
        faiss, index = library(), self.index
        if self.structure in ("flat", "hnsw"):
            binary = isinstance(index, faiss.IndexBinary)
            index = (faiss.downcast_IndexBinary if binary else faiss.downcast_index)(index.index)
            return (index, index.hnsw)[0] if self.structure == "hnsw" else index
        return (index, index.nlist)[0]


def library() -> ModuleType:
    """faiss; ValueError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise ValueError("searching needs faiss; install it with: pip install 'bitmosaic[search]'") from None
    return faiss


def _is_text(path: Path) -> bool:
    """Whether faiss can be given a path: where its bytes are no UTF-8 it cannot, and all goes through memory."""
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _last_words(error: BaseException) -> str:
    """What faiss complains of, without the line of its source that it names first."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return first.rpartition("failed: ")[2].rpartition("Error: ")[2][-200:]
