"""Vectors of images on disk, in chunks, from which a faiss index is built and, if damaged, rebuilt.

    chunks/00000.safetensors   of up to CHUNK images
        vectors (n, bytes) uint8 or (n, D) float32
        stats (n, 3) int64, sums (n, 16) uint8: of the files, as `images.contents` has them; -1 and 0 where there are no files
        medians (D,) float32: of the features, where vectors are their signs
        metadata: names, JSON; made, a description of the encoder; heads and body, checksums of names, stats and sums, and of the rest

Chunks are written whole or not at all, and never change except for `stats`. A later row of a name replaces earlier ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bitmosaic.disk import whole_file
from bitmosaic.folders import check_plain, parse_json
from bitmosaic.images.contents import BYTES

CHUNK = 1000  # images
ENDING = ".safetensors"
FOREIGN = "belongs to an index with other settings"


class Damaged(ValueError):
    """A file of an index that cannot be used; `reason` says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"index: {path} {reason}; 'bitmosaic index' with the same settings makes it anew from the pictures")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Rows:
    """What a chunk knows of its images without their vectors. names: "" of none; stats, sums: as `images.contents` has them."""

    names: list[str]
    stats: np.ndarray
    sums: np.ndarray
    body: str  # checksum of vectors and medians; empty in chunks of the first version


class VectorStore:
    """The chunks in `folder`. made: a description of the encoder, by which chunks of another index are recognised. binary: uint8, else
    float32.

    first: whether chunks of the first version, which have no checksums, are accepted.
    """

    def __init__(self, folder: Path, made: str, binary: bool, first: bool = False):
        self.folder, self.made, self.dtype, self.first = folder, made, np.dtype(np.uint8 if binary else np.float32), first
        self._rows: dict[int, Rows] = {}

    def __len__(self) -> int:
        return 1 + max((int(path.stem) for path in self._paths()), default=-1)

    def _paths(self) -> list[Path]:
        return [path for path in self.folder.glob(f"*{ENDING}") if path.stem.isdecimal() and path.stem.isascii()]

    def path(self, number: int) -> Path:
        """Of a chunk."""
        return self.folder / f"{number:05d}{ENDING}"

    def rows(self, number: int) -> Rows:
        """The names of a chunk. Damaged where they cannot be read or do not fit their checksum."""
        if number not in self._rows:
            self._rows[number] = self._read(number)[0]
        return self._rows[number]

    def vectors(self, number: int) -> np.ndarray:
        """The vectors of a chunk. Damaged where they cannot be read or do not fit their checksum."""
        return self._read(number, whole=True)[1]

    def medians(self) -> np.ndarray | None:
        """Of the features, (D,) float32, from the first chunk that holds them and is whole; None where none does."""
        for number in range(len(self)):
            try:
                found = self._read(number, whole=True)[2]
            except Damaged:
                continue
            if found is not None:
                return found
        return None

    def add(self, names: Sequence[str], vectors: np.ndarray, stats: np.ndarray, sums: np.ndarray, medians: np.ndarray | None) -> int:
        """Puts images into a new chunk; its number."""
        number = len(self)
        tensors = {"vectors": vectors, "stats": stats, "sums": sums, **({} if medians is None else {"medians": medians})}
        self._write(number, names, tensors, _body(tensors))
        return number

    def note(self, number: int, stats: np.ndarray) -> None:
        """Notes other sizes and times of files whose content is as it was."""
        rows, vectors, medians = self._read(number, whole=True)
        tensors = {"vectors": vectors, "stats": stats, "sums": rows.sums, **({} if medians is None else {"medians": medians})}
        self._write(number, rows.names, tensors, rows.body or _body(tensors))

    def empty(self, number: int) -> None:
        """Leaves nothing in a chunk, whose number stays taken."""
        tensors = {"vectors": np.empty((0, 1), self.dtype), "stats": np.empty((0, 3), np.int64), "sums": np.empty((0, BYTES), np.uint8)}
        self._write(number, [], tensors, _body(tensors))

    def damaged(self) -> Iterator[tuple[int, Damaged]]:
        """Numbers of chunks that cannot be used, and why; reads all. Medians are to be the same in all."""
        first = self.medians()
        for number in range(len(self)):
            try:
                medians = self._read(number, whole=True)[2]
                if first is not None and medians is not None and not np.array_equal(first, medians):
                    raise Damaged(self.path(number), "has other medians than the first chunk")
            except Damaged as error:
                yield number, error

    def _write(self, number: int, names: Sequence[str], tensors: dict[str, np.ndarray], body: str) -> None:
        tensors = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
        text = json.dumps(list(names))
        about = {"names": text, "made": self.made, "heads": _heads(text, tensors["stats"], tensors["sums"]), "body": body}
        path = self.path(number)
        try:
            with whole_file(path) as beside:
                save_file(tensors, beside, about)
        except SafetensorError as error:  # other than of a full disk
            raise OSError(f"{path} cannot be written ({error})") from error
        self._rows.pop(number, None)

    def _read(self, number: int, whole: bool = False) -> tuple[Rows, np.ndarray | None, np.ndarray | None]:
        """Rows, and with `whole` vectors and medians. Damaged says what is wrong."""
        path = self.path(number)
        try:
            check_plain(path)
            with safe_open(path, "np") as file:
                about, keys = file.metadata() or {}, set(file.keys())
                names = parse_json(about["names"])
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise ValueError("its names are none")
                if "body" in about:
                    stats, sums = file.get_tensor("stats"), file.get_tensor("sums")
                else:  # of the first version, which knew nothing of the files
                    stats, sums = np.full((len(names), 3), -1, np.int64), np.zeros((len(names), BYTES), np.uint8)
                tensors = {key: file.get_tensor(key) for key in ("vectors", "medians") if whole and key in keys}
                shape, count = tuple(file.get_slice("vectors").get_shape()), len(names)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            gone = isinstance(error, FileNotFoundError)
            raise Damaged(path, "is gone" if gone else f"is no chunk of an index, or damaged ({error})") from error
        self._check(path, about, {"stats": stats, "sums": sums, **tensors}, shape, count)
        return Rows(names, stats, sums, about.get("body", "")), tensors.get("vectors"), tensors.get("medians")

    def _check(self, path: Path, about: dict[str, str], found: dict[str, np.ndarray], shape: tuple[int, ...], count: int) -> None:
        if "body" not in about:
            if not self.first:
                raise Damaged(path, "has no checksums, as those of the first version")
        elif about.get("made") != self.made:
            raise Damaged(path, FOREIGN)
        kinds = {"stats": (np.int64, (count, 3)), "sums": (np.uint8, (count, BYTES)), "vectors": (self.dtype, shape)}
        fits = all(found[key].dtype == dtype and found[key].shape == wanted for key, (dtype, wanted) in kinds.items() if key in found)
        if not fits or len(shape) != 2 or shape[0] != count or count > CHUNK:
            raise Damaged(path, f"holds {shape} for {count} names; want {self.dtype} (n, ...) of at most {CHUNK}")
        if "body" not in about:
            return
        heads = _heads(about["names"], found["stats"], found["sums"])
        if heads != about.get("heads") or ("vectors" in found and _body(found) != about["body"]):
            raise Damaged(path, "is damaged: its checksum is another")


def _heads(names: str, stats: np.ndarray, sums: np.ndarray) -> str:
    return hashlib.sha256(names.encode() + b"\0" + stats.tobytes() + sums.tobytes()).hexdigest()


def _body(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(repr(tensors["vectors"].shape).encode())
    for name in ("vectors", "medians"):
        if name in tensors:
            digest.update(np.ascontiguousarray(tensors[name]))
    return digest.hexdigest()
