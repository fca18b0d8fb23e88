"""Checkpoints by torch.distributed.checkpoint, written whole or not at all, so that the newest one is always complete.

    step-00000120/  .metadata  __0_0.distcp  notes.json  checksums.json

torch's reader unpickles anything. Ours accepts tensors, numbers, and the classes that describe them, so an untrusted file runs no code and
reads nothing outside its folder.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint._nested_dict import set_element
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem

from bitmosaic.disk import why_full
from bitmosaic.folders import read_json
from bitmosaic.train.loop import State
from bitmosaic.train.processes import barrier, broadcast, is_first
from bitmosaic.train.sealed import damage, seal

NOTES = "notes.json"
_LAYOUTS = {"torch.strided": torch.strided}
_DESCRIBING: dict[tuple[str, str], Any] = {  # the globals that .metadata may name, and what they are here
    **{(kind.__module__, kind.__name__): kind for kind in (
        Metadata, StorageMeta, TensorStorageMetadata, BytesStorageMetadata, ChunkStorageMetadata, TensorProperties, MetadataIndex,
        _MEM_FORMAT_ENCODING, _StorageInfo)},
    ("torch", "Size"): torch.Size, ("torch.serialization", "_get_layout"): _LAYOUTS.__getitem__,
    ("pathlib", "PosixPath"): lambda *parts: "/".join(parts),
}  # fmt: skip


def save_checkpoint(folder: Path, state: State, keep: int, notes: dict[str, Any] | None = None) -> Path:
    """Writes `folder/step-N` with all of `state`, and `notes` as JSON; older ones beyond the newest `keep` are removed.

    Called by the first process, or by all where the state is sharded. OSError where it cannot be written; older checkpoints then stay.
    """
    final, beside, together = folder / f"step-{state.step:08d}", folder / f".step-{state.step:08d}.new", state.sharded
    if not together and not is_first():
        return final
    if is_first():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
    if together:
        barrier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is one process only
        try:
            dcp.save(state.state_dict(), storage_writer=dcp.FileSystemWriter(beside, single_file_per_rank=True), no_dist=not together)
            if is_first():
                (beside / NOTES).write_text(json.dumps(notes or {}))
                seal(beside)
        except (OSError, CheckpointException) as error:  # torch's is a BaseException
            shutil.rmtree(beside, ignore_errors=True)
            full = why_full(_inside(error))
            why = f"{full[1][:1].lower()}{full[1][1:]}" if full else _first(error)
            raise OSError(f"checkpoint {final} cannot be written ({why}); the one before it stays; make room, and try again") from error
    if is_first():
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
    """Loads the newest intact checkpoint in `folder` into `state` and returns its notes; None where there is none. All processes call.

    Damaged ones are reported and renamed to step-N.damaged, since a run from an earlier one ends the same. ValueError where all are
    damaged, or where an intact one does not fit this state. The number of processes may differ from that which wrote it.
    """
    path = broadcast(newest(folder, say) if is_first() else None)  # by one: others may see a shared disk in another state
    return None if path is None else _read(path, state)


def newest(folder: Path, say: Callable[[str], object]) -> Path | None:
    """The newest intact checkpoint; half-written ones are removed, damaged ones renamed."""
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
        each = "; ".join(f"{path.name}: {why}" for path, why in damaged.items())
        raise ValueError(f"no checkpoint in {folder} can be read ({each}); put back what is missing, or remove {folder} to begin anew")
    return None


def _read(path: Path, state: State) -> dict[str, Any]:
    parts, reader = state.state_dict(), _Reader(path)
    try:
        held = reader.read_metadata().state_dict_metadata  # checked first, since torch would log two tracebacks
        if state.game.late_memory and not any(name.startswith("memory.") for name in held):
            parts.pop("memory", None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(parts, storage_reader=reader, planner=_Planner(), no_dist=not state.sharded)
        state.load_state_dict(parts)
        notes = read_json(path / NOTES)
        if not isinstance(notes, dict):
            raise ValueError(f"{NOTES} holds no names")
    except (Exception, CheckpointException) as error:
        raise ValueError(f"checkpoint {path} cannot be read ({_first(error)}); remove that folder to go on from the one before") from error
    return notes


class _Unpickler(pickle._Unpickler):  # the Python implementation, whose opcodes can be overridden
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) not in _DESCRIBING:
            raise ValueError(f"its .metadata asks for {module}.{name}, which describes no tensor")
        return _DESCRIBING[module, name]

    def load_build(self) -> None:
        """Sets fields of the describing classes only: state of any other object, such as a function, could change what it does."""
        state = self.stack.pop()
        made = self.stack[-1]
        if type(made) is TensorProperties and type(state) is tuple:
            made.__setstate__(state)
            return
        known = dataclasses.is_dataclass(type(made)) and type(made) in _DESCRIBING.values() and type(state) is dict
        if not known or not state.keys() <= {field.name for field in dataclasses.fields(made)}:
            raise ValueError(f"its .metadata sets what is no field of a {type(made).__name__}")
        for name, value in state.items():
            object.__setattr__(made, name, value)  # some are frozen

    dispatch[pickle.BUILD[0]] = load_build


class _Reader(dcp.FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What `.metadata` describes; ValueError where it describes anything but tensors and values in this folder."""
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _Unpickler(file).load()
        if type(metadata) is not Metadata or type(metadata.storage_data) is not dict:
            raise ValueError("its .metadata describes no checkpoint")
        for info in metadata.storage_data.values():
            name = getattr(info, "relative_path", None)
            if type(info) is not _StorageInfo or type(name) is not str or info.transform_descriptors is not None:
                raise ValueError("its .metadata describes no checkpoint")
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"its .metadata names the file {name!r}, outside its folder")
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata

    def _slice_file(self, file: IO[bytes], info: _StorageInfo) -> IO[bytes]:
        """As torch's own, but refuses compressed archives, which torch never writes and which could exceed memory."""
        if not all(type(number) is int and number >= 0 for number in (info.offset, info.length)):
            raise ValueError("its .metadata names bytes that cannot be")
        with zipfile.ZipFile(_Part(file, info.offset, info.length)) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("it holds compressed tensors, which are not read")
        return super()._slice_file(file, info)


class _Part(io.RawIOBase):
    """The bytes [start, start + length) of a file as a file: newer Pythons refuse a zip archive with other bytes before it."""

    def __init__(self, file: IO[bytes], start: int, length: int):
        self.file, self.start, self.length, self.at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = max(0, (0, self.at, self.length)[whence] + offset)
        return self.at

    def readinto(self, into: Any) -> int:
        self.file.seek(self.start + self.at)
        found = self.file.read(max(0, min(len(into), self.length - self.at)))
        into[: len(found)] = found
        self.at += len(found)
        return len(found)


class _Planner(DefaultLoadPlanner):
    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """As torch's own, which unpickles anything, but only for plain values of the kind in the state."""
        name = read_item.dest_index.fqn
        found, held = torch.load(value, weights_only=True), self.state_dict[name]
        if not _alike(found, held):
            raise ValueError(f"{name} is a {type(found).__name__}, not such a {type(held).__name__} as is wanted")
        set_element(self.original_state_dict, self.mappings[name], found)


def _alike(found: Any, held: Any) -> bool:
    """Whether two plain values are of one kind: a number for a number, or sequences of as many values, each of one kind."""
    if isinstance(held, list | tuple):
        return type(found) is type(held) and len(found) == len(held) and all(map(_alike, found, held))
    numbers = (int, float)
    return type(found) is type(held) or (type(found) in numbers and type(held) in numbers)


def _inside(error: BaseException) -> BaseException:
    return list(error.failures.values())[0][0] if getattr(error, "failures", None) else error


def _first(error: BaseException) -> str:
    """What went wrong, on one line: torch's exception holds one for each process."""
    inside = _inside(error)
    told = " ".join(str(inside).split())[:300]
    return f"{type(inside).__name__}: {told}" if isinstance(inside, LookupError) or not told else told
