"""The description of an index, index.json, its lock, and whether a folder holds an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bitmosaic.folders import read_json
from bitmosaic.names import plain
from bitmosaic.search.structures import STRUCTURES
from bitmosaic.search.vector_store import Damaged
from bitmosaic.search.vectors import VectorSpec
from bitmosaic.spec import Spec

FORMAT, FIRST = "bitmosaic index 2", "bitmosaic index 1"
NEW = {"beside": "", "background": "", "sum": "", "shelf": ""}  # that the first version lacks; the last is a checksum over the chunks
KINDS = {"structure": str, "pipeline": str, "fingerprint": str, "root": str, "faiss": str, "indexed": int, "removed": list}
LOCK = "index.lock"
OURS = ("index.json", LOCK, "medians.npy", "chunks")


@contextmanager
def locked(folder: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Locks an index, or the folder of a new one; calls `on_wait` and waits while another process holds the lock.

    ValueError where the folder holds something other than an index.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_free(folder: Path) -> None:
    """ValueError where a folder holds something other than an index or remains of one."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(plain(f"out: {folder} is a file; give a folder"))
    others = [] if not folder.exists() else [path.name for path in folder.iterdir() if path.name not in OURS]
    others = [name for name in others if not name.endswith(".new") and not (name.startswith("index-") and name.endswith(".faiss"))]
    if others and not (folder / "index.json").is_file():
        raise ValueError(plain(f"out: {folder} holds something that is no index, such as {others[0]}; give a new or empty folder"))


def read_about(folder: Path) -> dict[str, Any]:
    """The contents of index.json. Damaged where it cannot be read, ValueError where it is of a later version."""
    path = folder / "index.json"
    try:
        about = read_json(path)
    except ValueError as error:
        raise Damaged(path, f"cannot be read ({error})") from error
    known = isinstance(about, dict) and about.get("format") in (FORMAT, FIRST)
    if isinstance(about, dict) and not known and str(about.get("format", "")).startswith("bitmosaic index "):
        raise ValueError(plain(f"index: {path} is of a later version, {about['format']!r}; a newer bitmosaic reads it"))
    if not known or not {"format", "vectors", *KINDS} <= about.keys() <= {"format", "vectors", *KINDS, *NEW}:
        raise Damaged(path, "describes no index")
    about = {**NEW, **about}
    wrong = [name for name, kind in {**KINDS, **dict.fromkeys(NEW, str)}.items() if type(about[name]) is not kind]
    if wrong or not all(type(i) is int and i >= 0 for i in about["removed"]) or not _is_name(about["faiss"]) or about["indexed"] < 0:
        raise Damaged(path, f"describes no index: {', '.join(wrong) or 'removed, indexed or faiss'} cannot be")
    try:
        spec = Spec.from_json(about["vectors"], f"{path}: vectors")
    except ValueError as error:
        raise Damaged(path, f"describes no index ({error})") from error
    if not isinstance(spec, VectorSpec) or about["structure"] not in STRUCTURES[spec.binary]:
        raise Damaged(path, "describes no index")
    return about


def _is_name(text: str) -> bool:
    return text == "" or re.fullmatch(r"index-\d{5,}\.faiss", text) is not None
