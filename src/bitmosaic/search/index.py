"""An index on disk: a shelf of vectors in chunks, which is the truth, and a faiss index over them, which stock faiss opens.

    index.json            what it is, which chunks the faiss index holds, which images were removed
    chunks/00000.safetensors   vectors of up to CHUNK images; their names stand in the file's metadata
    medians.npy           of the features, where vectors are their signs
    index-00003.faiss     ids are numbers of images, in order of the shelf: chunk x CHUNK + row

Everything is written beside, then renamed, index.json last: whatever stops a build, the next goes on after the last whole chunk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bitmosaic.folders import parse_json, read_array, read_json, write_json
from bitmosaic.search.vectors import VectorSpec
from bitmosaic.spec import Spec

CHUNK = 1000  # images
STRUCTURES = {True: ("flat", "ivf", "hnsw"), False: ("flat", "ivf-pq")}  # of binary vectors and of floats
LISTS, LEARNED = 1024, 64  # of IVF at most, and vectors for each that they are learned from: k-means holds all of these as floats
FEWEST = 1000  # images that ivf-pq takes
FORMAT = "bitmosaic index 1"


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    id: int
    name: str
    distance: float  # bits that differ, or 2 - 2 cosine


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise ValueError("searching needs faiss; install it with: pip install 'bitmosaic[search]'") from None
    return faiss


class Index:
    """Opened by `open`, begun by `begin`."""

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.about = folder, about
        self.spec: VectorSpec = Spec.from_json(about["vectors"], f"{folder / 'index.json'}: vectors")
        self._index, self._names = None, None

    @staticmethod
    def begin(folder: Path, spec: VectorSpec, structure: str, pipeline: str, fingerprint: str, root: str = "") -> Index:
        """An empty index in a new or empty folder. pipeline: what made the vectors, and its fingerprint; root: where images lie.

        ValueError where there is something else, or for a structure that such vectors cannot have.
        """
        folder = Path(folder).expanduser()
        if structure not in STRUCTURES[spec.binary]:
            raise ValueError(f"structure: got {structure!r}; by {spec.by} there are {', '.join(STRUCTURES[spec.binary])}")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"out: {folder} holds something that is no index; give a new or empty folder")
        (folder / "chunks").mkdir(parents=True, exist_ok=True)
        about = {
            "format": FORMAT, "vectors": spec.to_json(), "structure": structure, "pipeline": pipeline, "fingerprint": fingerprint,
            "root": root, "faiss": "", "indexed": 0, "removed": [],
        }  # fmt: skip
        write_json(folder / "index.json", about)
        return Index(folder, about)

    @staticmethod
    def open(folder: Path) -> Index:
        """The index in a folder; ValueError says why there is none."""
        folder = Path(folder).expanduser()
        if not (folder / "index.json").is_file():
            raise ValueError(f"index: {folder} holds no index.json; give a folder that 'bitmosaic index' wrote")
        about = read_json(folder / "index.json")
        kinds = {"structure": str, "pipeline": str, "fingerprint": str, "root": str, "faiss": str, "indexed": int, "removed": list}
        if not isinstance(about, dict) or about.get("format") != FORMAT or about.keys() != {"format", "vectors", *kinds}:
            raise ValueError(f"index: {folder / 'index.json'} describes no index of this version")
        wrong = [name for name, kind in kinds.items() if type(about[name]) is not kind]
        if wrong or not all(type(i) is int and i >= 0 for i in about["removed"]) or Path(about["faiss"]).name != about["faiss"]:
            raise ValueError(f"index: {folder / 'index.json'}: {', '.join(wrong) or 'removed or faiss'} cannot be")
        found = Index(folder, about)
        if not isinstance(found.spec, VectorSpec) or about["structure"] not in STRUCTURES[found.spec.binary]:
            raise ValueError(f"index: {folder / 'index.json'} describes no index of this version")
        return found

    def medians(self) -> np.ndarray | None:
        """Of the features, (D,) float32, where vectors are their signs; else None. ValueError where the file is missing or damaged."""
        return read_array(self.folder / "medians.npy", 1, np.float32) if self.spec.by == "bits" else None

    @property
    def removed(self) -> set[int]:
        """Numbers of images that are no longer to be found."""
        return set(self.about["removed"])

    @property
    def chunks(self) -> int:
        """On the shelf."""
        return len(list((self.folder / "chunks").glob("*.safetensors")))

    def __len__(self) -> int:
        return sum(map(bool, self.names())) - len(self.removed)

    def names(self) -> list[str]:
        """Of all images that were ever on the shelf, by their numbers; "" where a chunk is not full."""
        if self._names is None:
            self._names = [name for i in range(self.chunks) for name in self._padded(self._chunk(i)[0])]
        return self._names

    @staticmethod
    def _padded(names: list[str]) -> list[str]:
        return names + [""] * (CHUNK - len(names))

    def present(self) -> dict[str, int]:
        """Names of the images that can be found, and their numbers."""
        removed = self.removed
        return {name: i for i, name in enumerate(self.names()) if name and i not in removed}

    def add(self, names: Sequence[str], vectors: np.ndarray) -> None:
        """Puts at most CHUNK images on the shelf; `build` makes them findable. ValueError where vectors are of another kind."""
        wanted = np.uint8 if self.spec.binary else np.float32
        if vectors.dtype != wanted or vectors.ndim != 2 or len(vectors) != len(names) or not 0 < len(names) <= CHUNK:
            raise ValueError(f"vectors: got {vectors.dtype} {vectors.shape} for {len(names)} names; want {np.dtype(wanted)} (n, ...)")
        path = self.folder / "chunks" / f"{self.chunks:05d}.safetensors"
        beside = path.with_suffix(".new")
        save_file({"vectors": np.ascontiguousarray(vectors)}, beside, {"names": json.dumps(list(names)), "software": FORMAT})
        beside.replace(path)
        self._names = None

    def remove(self, names: Iterable[str]) -> int:
        """Makes images impossible to find; how many there were. Their vectors leave the faiss index where its structure lets them."""
        present = self.present()
        ids = sorted(present[name] for name in names if name in present)
        if not ids:
            return 0
        index = self._load() if self.about["faiss"] else None
        about = {**self.about, "removed": sorted({*self.about["removed"], *ids})}
        if index is not None and self.about["structure"] != "hnsw":  # which cannot forget; search leaves them out
            index.remove_ids(np.array(ids, np.int64))
            self._write(index, about, self.about["indexed"])
        else:
            write_json(self.folder / "index.json", about)
            self.about = about
        return len(ids)

    def build(self) -> Iterator[int]:
        """Brings the faiss index up to the shelf; yields images done. What is in it already is not read again."""
        done, chunks, removed = self.about["indexed"], self.chunks, self.removed
        if done == chunks:
            return
        index = self._load() if self.about["faiss"] else self._empty()
        for i in range(done, chunks):
            names, vectors = self._chunk(i)
            ids = np.arange(i * CHUNK, i * CHUNK + len(names))
            keep = ~np.isin(ids, list(removed))
            if keep.any():
                index.add_with_ids(vectors[keep], ids[keep])
            yield len(names)
        self._write(index, self.about, chunks)

    def search(self, vectors: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """The k nearest images of each vector, nearest first, fewer where there are fewer. ValueError where nothing was built."""
        if not self.about["faiss"]:
            raise ValueError(f"index: {self.folder} was begun but not built; the command that began it goes on where it was")
        if k < 1:
            raise ValueError(f"k: got {k}; want at least 1")
        index, removed, names = self._load(), self.removed, self.names()
        if vectors.shape[1] * (8 if self.spec.binary else 1) != index.d:
            raise ValueError(f"vectors: got {vectors.shape}; this index holds vectors of {index.d}")
        asked = k
        while True:
            distances, ids = index.search(np.ascontiguousarray(vectors), min(asked, index.ntotal))
            rows = [[Hit(int(i), names[i], float(d)) for d, i in zip(*row, strict=True) if 0 <= i < len(names) and i not in removed]
                    for row in zip(distances, ids, strict=True)]  # fmt: skip
            if asked >= index.ntotal or min(map(len, rows)) >= k or not removed:
                return [row[:k] for row in rows]
            asked *= 2

    def duplicates(self, within: float, neighbours: int = 8) -> list[list[Hit]]:
        """Groups of images no further than `within` from one another, along a chain of near ones; distances to the next nearest."""
        leader = list(range(self.chunks * CHUNK))
        nearest: dict[int, Hit] = {}

        def first(i: int) -> int:
            while leader[i] != i:
                leader[i] = leader[leader[i]]
                i = leader[i]
            return i

        removed = self.removed
        for chunk in range(self.about["indexed"]):
            names, vectors = self._chunk(chunk)
            for row, hits in enumerate(self.search(vectors, neighbours)):
                here = chunk * CHUNK + row
                near = [hit for hit in hits if hit.id != here and hit.distance <= within] if here not in removed else []
                for hit in near:
                    leader[max(first(here), first(hit.id))] = min(first(here), first(hit.id))
                if near:
                    nearest[here] = Hit(here, names[row], near[0].distance)
                    for hit in near:
                        if hit.id not in nearest or nearest[hit.id].distance > hit.distance:
                            nearest[hit.id] = hit
        groups: dict[int, list[Hit]] = {}
        for i in sorted(nearest):
            groups.setdefault(first(i), []).append(nearest[i])
        return sorted(groups.values(), key=lambda group: min(hit.distance for hit in group))

    def _empty(self) -> Any:
        """A faiss index for vectors such as the first, its lists learned from the shelf where it has lists."""
        faiss, structure, count = _faiss(), self.about["structure"], sum(map(bool, self.names()))
        size = self._chunk(0)[1].shape[1]
        lists = max(1, min(round(4 * math.sqrt(count)), count // 39, LISTS))
        if self.spec.binary:
            text = {"flat": "BFlat", "ivf": f"BIVF{lists}", "hnsw": "BHNSW32"}[structure]
            index = faiss.index_binary_factory(8 * size, text)
        else:
            if structure == "ivf-pq" and count < FEWEST:
                raise ValueError(f"structure: ivf-pq learns from the images, at least {FEWEST} of them; here are {count}; take flat")
            quantizer = max(m for m in (1, 2, 4, 8, 16, 32, 48, 64, 96) if m == 1 or (size % m == 0 and size // m >= 4))
            bits = 8 if count >= 39 * 256 else 4
            index = faiss.index_factory(size, {"flat": "Flat", "ivf-pq": f"IVF{lists},PQ{quantizer}x{bits}"}[structure])
        if not index.is_trained:
            each = max(1, math.ceil(LEARNED * lists / self.chunks))
            some = [self._chunk(i)[1][:each] for i in range(self.chunks)]
            index.train(np.concatenate(some))
        if structure.startswith("ivf"):
            index.nprobe = max(1, lists // 8)
            return index
        return faiss.IndexBinaryIDMap2(index) if self.spec.binary else faiss.IndexIDMap2(index)

    def _load(self) -> Any:
        """The faiss index, read once; ValueError where it cannot be."""
        if self._index is None:
            faiss, path = _faiss(), self.folder / self.about["faiss"]
            try:
                self._index = (faiss.read_index_binary if self.spec.binary else faiss.read_index)(str(path))
            except (RuntimeError, MemoryError) as error:
                raise ValueError(f"index: {path} is no index of faiss, or damaged ({_last_words(error)})") from error
        return self._index

    def _write(self, index: Any, about: dict[str, Any], chunks: int) -> None:
        faiss, old = _faiss(), self.about["faiss"]
        number = int(old[6:11]) + 1 if old else 0
        name = f"index-{number:05d}.faiss"
        beside = self.folder / f"{name}.new"
        try:
            (faiss.write_index_binary if self.spec.binary else faiss.write_index)(index, str(beside))
        except RuntimeError as error:
            raise OSError(f"{beside} cannot be written ({_last_words(error)})") from error
        beside.replace(self.folder / name)
        self.about = {**about, "faiss": name, "indexed": chunks}
        write_json(self.folder / "index.json", self.about)
        if old and old != name:
            (self.folder / old).unlink(missing_ok=True)
        self._index = index

    def _chunk(self, number: int) -> tuple[list[str], np.ndarray]:
        """Names and vectors of a chunk; ValueError names a file that is damaged."""
        path = self.folder / "chunks" / f"{number:05d}.safetensors"
        try:
            with safe_open(path, "np") as file:
                vectors, names = file.get_tensor("vectors"), parse_json((file.metadata() or {})["names"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"index: {path} is no chunk of an index, or damaged ({error})") from error
        wanted = np.uint8 if self.spec.binary else np.float32
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"index: {path} is no chunk of an index, or damaged (its names are none)")
        if vectors.ndim != 2 or vectors.dtype != wanted or len(vectors) != len(names) or len(names) > CHUNK:
            raise ValueError(f"index: {path} holds {vectors.dtype} {vectors.shape} for {len(names)} names; want {np.dtype(wanted)}")
        return names, vectors


def _last_words(error: BaseException) -> str:
    """The end of the first line of what faiss complains of, which is where it says why."""
    return (str(error).splitlines() or [type(error).__name__])[0][-120:]
