"""Pipelines by name or folder, for the commands; the folder of a training run stands for the pipeline that it made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from bitmosaic.folders import fingerprint_of, part_fingerprint
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline, find_pipeline, kind_of, zoo_names

P = TypeVar("P", bound=Pipeline)
Drawing = Literal["own", "auto", "float32", "bf16", "int8"]
DEFAULT = "fashion"  # the pipeline that is meant where none is named
LARGE = 100_000_000  # parameters from which on a pipeline draws in bf16 unless told, where the processor multiplies it
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def meant(pipeline: str, image: str = "") -> str:
    """The pipeline that is named; else the one that ships for the set that an image is of, such as fashion:17; else the default."""
    of = image.partition(":")[0] if ":" in image and not Path(image).exists() else ""
    return pipeline or (of if of in zoo_names() else DEFAULT)


def find(name: str | Path) -> Path:
    """The folder of a pipeline: in the zoo, on disk, or inside a training run that has ended."""
    folder = Path(name).expanduser()
    if (folder / "run.json").is_file():
        if not (folder / "pipeline" / "config.json").is_file():
            raise ValueError(f"the training in {folder} has not ended; the same command again goes on where it was")
        return folder / "pipeline"
    return find_pipeline(folder if str(name).startswith("~") else name)


def load(name: str | Path, device: str = "cpu", kind: type[P] = Pipeline, precision: Drawing = "float32") -> P:
    """The pipeline of that name or in that folder, on a device, the network that draws in that precision; others, such as a tokenizer, are
    in float32. ValueError where it is not of that kind.
    """
    check_device(device)
    folder = find(name)
    return kind.from_pretrained(folder, device, network=TYPES[drawing_name(precision, device, folder)])


def drawing_name(precision: Drawing, device: str, folder: Path) -> str:
    """The precision that is meant: float32, bf16 or int8."""
    if precision == "own":
        precision = "auto" if weights(folder) > LARGE else "float32"
    return precision if precision == "int8" else resolve(precision, device)


def weights(folder: Path) -> int:
    """How many numbers the parts of a pipeline hold, by the heads of their files."""
    count = 0
    for name in kind_of(folder).part_names:
        try:
            with safe_open(folder / name / "model.safetensors", "pt") as file:
                count += sum(math.prod(file.get_slice(tensor).get_shape()) for tensor in file.keys())
        except (OSError, SafetensorError):  # which whoever reads it will say
            continue
    return count


def check_device(device: str) -> None:
    """ValueError unless torch knows the device and this machine has it."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch has no one type for it
        why = str(error).splitlines()[0]
        raise ValueError(f"device: got {device!r} ({why}); give cpu, or cuda where there is a GPU") from error


def fingerprint(name: str | Path) -> str:
    """SHA-256 over the tokenizer's two files: codes of tokenizers that differ in it are strangers."""
    return part_fingerprint(find(name) / "tokenizer")


def checksum(folder: Path) -> str:
    """SHA-256 over its configuration, and configuration and weights of its parts."""
    parts = [f"{name}/{file}" for name in kind_of(folder).part_names for file in ("config.json", "model.safetensors")]
    return fingerprint_of(folder, ["config.json", *parts])
