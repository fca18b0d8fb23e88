"""Parts on disk: a folder with `config.json` (the spec) and `model.safetensors` (the weights); strict both ways."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import threading
import typing
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from bitmosaic.disk import checksum, whole_file, writing
from bitmosaic.spec import Spec

MAPPED = 2**25  # bytes of a file of weights that are looked at through one mapping
DEEPEST = 64  # levels that JSON may have: ours has fewer than ten
_TOO_DEEP = f"nested more than {DEEPEST} levels deep"


def real_path(path: str | Path) -> Path:
    """The absolute `path` with links resolved; ValueError where links lead in a circle."""
    path = Path(path).expanduser()
    try:
        return path.resolve()
    except (RuntimeError, OSError) as error:  # Pythons differ in which it is
        raise ValueError(f"{path}: links lead in a circle; give a path that leads somewhere") from error


def check_archive(path: Path, packed: bool = False) -> None:
    """ValueError where a zip archive of torch.save is damaged, by its checksums, or compressed and not `packed`. Reads all of it."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if not packed and any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("compressed, which torch.save never does; it could unpack to more than there is memory")
        if any(part.CRC for part in parts):  # all are 0 where torch was told to leave checksums out
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"damaged: the checksum of {damaged} in it does not fit; get the file again")


@contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that replaces it when the block succeeds, and is removed when it raises."""
    folder = real_path(folder)  # a link stays; its target is replaced
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.new")
    beside.mkdir()
    try:
        with writing(folder):
            yield beside
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
            folder.rename(old)
            beside.rename(folder)
            shutil.rmtree(old)
        else:
            beside.rename(folder)
    except OSError as error:
        if error.filename is not None:  # name the file as it would have been called after the rename
            error.filename = str(error.filename).replace(str(beside), str(folder))
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_plain(path: Path) -> None:
    """ValueError where `path` is there but no regular file: reading a device or a pipe might never end."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")


def read_json(path: Path) -> Any:
    """The JSON in `path`, as `parse_json` takes it, or a ValueError that names it."""
    check_plain(path)
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not readable JSON ({error})") from error


def parse_json(text: str) -> Any:
    """Untrusted JSON. ValueError where it is invalid, nested deeper than DEEPEST, or holds a number outside float64 and 64-bit integers:
    code that reads the result may recurse over it and count with it. NaN and Infinity are accepted, as Python writes them.
    """
    try:
        value = json.loads(text, parse_int=_whole, parse_float=_finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inside for held in level for inside in _inside(held)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"a whole number of {len(text)} digits, more than 64 bits hold")
    return int(text)


def _finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(f"the number {text[:20]}, more than a float holds")
    return float(text)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def save_part(module: nn.Module, spec: Spec, folder: Path, dtype: torch.dtype | None = None) -> None:
    """`config.json` and `model.safetensors` of one part; floats in `dtype` where one is given."""
    save_tensors(module.state_dict(), spec, folder, dtype)


def save_tensors(tensors: dict[str, Tensor], spec: Spec, folder: Path, dtype: torch.dtype | None = None) -> None:
    """`save_part` of a part given as its tensors; memory-mapped ones are written without being loaded into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    if dtype is not None:
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    first: dict[int, str] = {}
    tensors = {k: v if first.setdefault(v.data_ptr(), k) == k else v.clone() for k, v in tensors.items()}  # shared storage is refused
    with writing(folder / "model.safetensors"):
        save_file(tensors, folder / "model.safetensors")
    write_json(folder / "config.json", spec.to_json())


def load_part(folder: Path, kind: type[nn.Module], dtype: torch.dtype | None = torch.float32) -> nn.Module:
    """The part in `folder`, its floats in `dtype` (None: as stored). ValueError names tensors that are missing, extra or of a wrong shape.

    Weights that are stored in `dtype` are memory-mapped: read when first used, and copied where they are changed.
    """
    folder = Path(folder)
    spec = Spec.from_json(read_json(folder / "config.json"), str(folder / "config.json"))
    path = folder / "model.safetensors"
    check_plain(path)
    try:
        with safe_open(path, "pt") as file:
            found = {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}
            module = build_empty(spec, kind, len(found), str(folder / "config.json"))
            check_tensors(path, {k: tuple(v.shape) for k, v in module.state_dict().items()}, found)
        tensors = _tensors(path, list(found), dtype)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from error
    parameters = {k for k, _ in module.named_parameters()}
    whole = [k for k, v in tensors.items() if k in parameters and not v.is_floating_point()]
    if whole:
        raise ValueError(f"{path}: weights are no floating-point numbers: {_some(whole)}")
    module.load_state_dict(tensors, assign=True)
    fill_tables(module, spec)
    return module.eval()


def _tensors(path: Path, names: list[str], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Tensors of a file, floats in `dtype`; ValueError where any of their numbers is not finite.

    They are looked at, and converted where they must be, through mappings of MAPPED bytes, so that no more than that is in memory for it.
    """
    converted, broken, left = {}, [], list(reversed(names))
    while left:
        with safe_open(path, "pt") as file:
            read = 0
            while left and read < MAPPED:
                found = file.get_tensor(name := left.pop())
                read += found.nbytes
                if not found.is_floating_point():
                    continue
                if dtype not in (None, found.dtype):
                    found = converted[name] = found.to(dtype)
                if found.numel() and not all(end.isfinite() for end in found.aminmax()):
                    broken.append(name)
                del found  # else it would hold the mapping
    if broken:
        raise ValueError(f"{path}: not all numbers are finite, so it is damaged: {_some(broken)}")
    with safe_open(path, "pt") as file:
        return {name: converted[name] if name in converted else file.get_tensor(name) for name in names}


def fill_tables(module: nn.Module, spec: Spec) -> None:
    """Fills the buffers that are not stored, such as tables of positions, of a part that was built on the meta device."""
    lacking = [name for name, buffer in module.named_buffers() if buffer.is_meta]
    if not lacking:
        return
    with torch.random.fork_rng(devices=[]):  # building it draws weights, which are discarded
        whole = spec.build()
    for name in lacking:
        owner, _, own = name.rpartition(".")
        setattr(module.get_submodule(owner), own, whole.get_buffer(name))


def part_fingerprint(folder: Path) -> str:
    """SHA-256 over the two files of a part; OSError where one is missing."""
    return fingerprint_of(folder, ("config.json", "model.safetensors"))


def fingerprint_of(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 over the checksums of some files of a folder; OSError where one is missing."""
    return hashlib.sha256(b"".join(bytes.fromhex(checksum(folder / name)) for name in names)).hexdigest()


def build_empty(spec: Spec, kind: type[nn.Module], tensors: int, where: str) -> nn.Module:
    """Builds an untrusted spec on the meta device, without memory for its weights.

    ValueError where it does not describe a `kind`, which is checked before anything is built, where building fails, or where it has more
    than twice as many parameters as the `tensors` stored with it: a depth of a billion would never end.
    """
    made = typing.get_type_hints(type(spec).build).get("return")
    if not (isinstance(made, type) and issubclass(made, kind)):
        raise ValueError(f"{where}: {type(spec).__name__} builds no {kind.__name__}")
    here, count = threading.get_ident(), 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count
        count += parameter is not None and threading.get_ident() == here
        if count > 2 * tensors + 100:
            raise ValueError(f"{where}: describes more parameters than the {tensors} tensors that come with it")

    hook = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            return spec.build()
    except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where}: no such part can be built ({' '.join(str(error).split())[:200]})") from error
    finally:
        hook.remove()


def read_array(path: Path, axes: int, *dtypes: Any) -> np.ndarray:
    """A .npy file through a memory map, as it is on disk. ValueError names one that is missing, damaged, pickled, or of another kind."""
    check_plain(path)
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # of numpy, of Python's tokenizer that it reads headers with, of the disk: too many kinds to name
        raise ValueError(f"{path} is not a readable array ({' '.join(str(error).split())[:200]})") from error
    if found.dtype not in dtypes or found.ndim != axes:
        wanted = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise ValueError(f"{path} holds {found.dtype} {found.shape}; want {wanted} with {axes} axes")
    return found


def check_tensors(where: Any, wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    """Raises a ValueError that names every tensor which is missing, extra or of a wrong shape, if there is one."""
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "extra": sorted(found.keys() - wanted.keys()),
        "misshapen": [f"{k} {found[k]}, want {s}" for k, s in wanted.items() if k in found and found[k] != s],
    }
    text = "; ".join(f"{word}: {_some(names)}" for word, names in problems.items() if names)
    if text:
        raise ValueError(f"{where}: tensors do not fit: {text}")


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
