"""Reads a published `.th`, `.pt` or `.safetensors` file as tensors under its authors' names; nothing in it is executed."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bitmosaic.folders import check_archive

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # of DDP and averages, torch.compile, FSDP
COUNTERS = {"n_averaged"}  # of torch's AveragedModel, beside its weights


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published file, memory-mapped, without the prefixes that wrappers of torch add to names.

    Every byte is compared with the archive's checksums. ValueError names the file.
    """
    return read_file(path)[0]


def read_file(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors as of `read_checkpoint`, and the settings of the training that some files hold, else {}."""
    path = Path(path).expanduser()
    if not path.is_file():
        what = "a link that leads to no file" if path.is_symlink() else "no file" if path.exists() else "no such file"
        raise ValueError(f"{path}: {'a folder' if path.is_dir() else what}; give a published checkpoint, .th, .pt or .safetensors")
    if path.suffix == ".safetensors":
        try:
            return load_file(path), {}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file, or not whole ({error})") from error
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a checkpoint of torch, or not whole (torch.save writes zip archives, and this is none)")
    try:
        check_archive(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about kinds of tensors that are refused below
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds more than tensors, which is not read since it could run code; give a published file") from error
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path}: not a readable checkpoint, or not whole ({type(error).__name__}: {first})") from error
    settings = state.get("args") if isinstance(state, dict) else None
    if isinstance(state, dict):
        state = next((state[name] for name in ("ema", "model", "state_dict") if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError(f"{path}: want a dictionary of tensors, or one under 'ema'")
    strange = [k for k, v in state.items() if v.is_nested or v.is_meta or v.device.type != "cpu"]
    if strange:
        raise ValueError(f"{path}: tensors without values, or of several sizes at once: {', '.join(strange[:8])}")
    wide = [k for k, v in state.items() if v.layout is torch.strided and v.nbytes > v.untyped_storage().nbytes()]
    if wide:
        raise ValueError(f"{path}: tensors of more numbers than the file holds: {', '.join(wide[:8])}")
    return _unwrapped(path, state), vars(settings) if isinstance(settings, argparse.Namespace) else {}


def _unwrapped(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names without the prefixes of wrappers. ValueError where two of one name differ."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if own in COUNTERS:
            continue
        if own in found and not same(found[own], tensor):
            raise ValueError(f"{path}: two tensors are called {own}, and differ")
        found[own] = tensor
    return found


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, bit for bit; on the meta device, only their shapes."""
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
        return False
    if a.is_meta or b.is_meta or (a.data_ptr() == b.data_ptr() and a.stride() == b.stride()):
        return True
    return torch.equal(a, b) or torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))  # NaN equals NaN so
