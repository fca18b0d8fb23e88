"""Checkpoints by torch.distributed.checkpoint: written beside, then renamed, so that the newest one is always whole.

    step-00000120/  .metadata  __0_0.distcp  notes.json  checksums.json

Its own reader unpickles whatever a file asks for. Ours takes tensors, numbers, and the classes that describe them; a file from a stranger
runs nothing, and reads nothing outside its folder.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem

from bitmosaic.train.loop import State
from bitmosaic.train.processes import first, in_turn, wait

CHECKSUMS, NOTES = "checksums.json", "notes.json"
_MODULE = "torch.distributed.checkpoint"
_DESCRIBING = {  # the globals that .metadata may name
    **dict.fromkeys(
        ("Metadata", "StorageMeta", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties",
         "MetadataIndex", "_MEM_FORMAT_ENCODING"), f"{_MODULE}.metadata"),
    "_StorageInfo": f"{_MODULE}.filesystem", "Size": "torch", "_get_layout": "torch.serialization", "PosixPath": "pathlib",
}  # fmt: skip


def save_checkpoint(folder: Path, state: State, keep: int, notes: dict[str, Any] | None = None) -> Path:
    """`folder/step-N`, all of `state`, and `notes` as JSON; older ones beyond the newest `keep` are removed.

    By the first process, unless the state is sharded: then all must call. OSError where it cannot be written; those that were there stay.
    """
    final, beside, together = folder / f"step-{state.step:08d}", folder / f".step-{state.step:08d}.new", state.sharded
    if not together and not first():
        return final
    if first():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
    if together:
        wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is one process only
        try:
            dcp.save(state.state_dict(), storage_writer=dcp.FileSystemWriter(beside, single_file_per_rank=True), no_dist=not together)
            if first():
                (beside / NOTES).write_text(json.dumps(notes or {}))
                (beside / CHECKSUMS).write_text(json.dumps(_checksums(beside), indent=1))
        except (OSError, CheckpointException) as error:  # torch's own is no Exception
            shutil.rmtree(beside, ignore_errors=True)
            raise OSError(f"checkpoint {final} cannot be written ({_first(error)}); the one before it stays") from error
    if first():
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if re.fullmatch(r"step-\d{8,}", p.name))


def load_checkpoint(folder: Path, state: State, say: Callable[[str], object] = print) -> dict[str, Any] | None:
    """Brings `state` to the newest whole checkpoint in `folder` and returns its notes; None where there is none at all. All processes call.

    Damaged ones are told and put aside as step-N.damaged, since a run from an earlier one ends the same. ValueError where all are damaged,
    or where a whole one holds something else than this state. It may have been written by another number of processes.
    """
    with in_turn():  # the first clears up, the others find it done
        path = newest(folder, say)
    return None if path is None else _read(path, state)


def newest(folder: Path, say: Callable[[str], object]) -> Path | None:
    """The newest whole checkpoint; what is half written goes, what is damaged is put aside."""
    for beside in folder.glob(".step-*.new") if folder.is_dir() else ():
        shutil.rmtree(beside)  # a run was killed while writing it
    damaged: dict[Path, str] = {}
    for path in reversed(checkpoints(folder)):
        why = damage(path)
        if not why:
            for other, reason in damaged.items():
                aside = other.with_name(other.name + ".damaged")
                shutil.rmtree(aside, ignore_errors=True)
                other.rename(aside)
                say(f"checkpoint {other} is damaged ({reason}); it is put aside, and {path.name} is used")
            return path
        damaged[path] = why
    if damaged:
        told = "; ".join(f"{path.name}: {why}" for path, why in damaged.items())
        raise ValueError(f"no checkpoint in {folder} can be read ({told}); put back what is missing, or remove {folder} to begin anew")
    return None


def damage(path: Path) -> str:
    """What is wrong with the files of a checkpoint, by their checksums; empty where nothing is."""
    try:
        wanted = json.loads((path / CHECKSUMS).read_text())
        found = _checksums(path)
    except (OSError, ValueError, RecursionError) as error:
        return f"{CHECKSUMS}: {_first(error)}"
    if not isinstance(wanted, dict):
        return f"{CHECKSUMS} holds no names"
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    changed = sorted(name for name in found.keys() & wanted.keys() if found[name] != wanted[name])
    parts = {"missing": missing, "changed": changed, "unknown": extra}
    return ", ".join(f"{' and '.join(names)} {word}" for word, names in parts.items() if names)


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != CHECKSUMS:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _read(path: Path, state: State) -> dict[str, Any]:
    parts = state.state_dict()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(parts, storage_reader=_Reader(path), planner=_Planner(), no_dist=not state.sharded)
        state.load_state_dict(parts)
        notes = json.loads((path / NOTES).read_text())
        if not isinstance(notes, dict):
            raise ValueError(f"{NOTES} holds no names")
    except (Exception, CheckpointException) as error:
        raise ValueError(f"checkpoint {path} cannot be read ({_first(error)}); remove that folder to go on from the one before") from error
    return notes


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _DESCRIBING.get(name) == module or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise ValueError(f"its .metadata asks for {module}.{name}, which describes no tensor")


class _Reader(dcp.FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
            raise ValueError("its .metadata describes no checkpoint")
        outside = [info.relative_path for info in metadata.storage_data.values() if Path(info.relative_path).name != info.relative_path]
        if outside:
            raise ValueError(f"its .metadata names the file {outside[0]!r}, outside its folder")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Planner(DefaultLoadPlanner):
    def load_bytes(self, read_item: ReadItem, value: BytesIO) -> None:
        plain = BytesIO()
        torch.save(torch.load(value, weights_only=True), plain)  # what is not plain raises here, before torch reads it its own way
        plain.seek(0)
        super().load_bytes(read_item, plain)


def _first(error: BaseException) -> str:
    """What went wrong, on one line: torch's exception holds one for each process."""
    inside = list(error.failures.values())[0][0] if getattr(error, "failures", None) else error
    return " ".join(str(inside).split())[:300] or type(inside).__name__
