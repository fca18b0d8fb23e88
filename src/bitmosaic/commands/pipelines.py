"""Pipelines by name or folder, for the commands; the folder of a finished training run counts as that of its pipeline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from bitmosaic.folders import fingerprint_of, part_fingerprint
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline, find_pipeline, kind_of, zoo_names
from bitmosaic.pipelines.zoo import DEFAULT

P = TypeVar("P", bound=Pipeline)
Drawing = Literal["own", "auto", "float32", "bf16", "int8"]
LARGE = 100_000_000  # parameters above which a pipeline draws in bf16 by default, where the processor has bf16 arithmetic
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def pipeline_for(pipeline: str, image: str = "") -> str:
    """The pipeline that is named; else the shipped one of the set of a bundled image such as fashion:17; else the default."""
    of = image.partition(":")[0] if ":" in image and not Path(image).exists() else ""
    return pipeline or (of if of in zoo_names() else DEFAULT)


def find(name: str | Path) -> Path:
    """The folder of a pipeline: in the zoo, on disk, or inside a finished training run. ValueError where there is none."""
    folder = Path(name).expanduser()
    if (folder / "run.json").is_file():
        if not (folder / "pipeline" / "config.json").is_file():
            raise ValueError(f"pipeline: the training run in {folder} has not ended; the same 'bitmosaic train' command again resumes it")
        return folder / "pipeline"
    return find_pipeline(folder if str(name).startswith("~") else name)


def load(name: str | Path, device: str = "cpu", kind: type[P] = Pipeline, precision: Drawing = "float32") -> P:
    """The pipeline of that name or in that folder, on a device. precision: of the network that draws; other parts, such as the tokenizer,
    are in float32. ValueError where the pipeline is not of that kind, or the device does not exist.
    """
    check_device(device)
    folder = find(name)
    return kind.from_pretrained(folder, device, network=DTYPES[drawing_name(precision, device, folder)])


def drawing_name(precision: Drawing, device: str, folder: Path) -> str:
    """The precision that `own` and `auto` stand for on this device: float32, bf16 or int8."""
    if precision == "own":
        precision = "auto" if weights(folder) > LARGE else "float32"
    return precision if precision == "int8" else resolve(precision, device)


def weights(folder: Path) -> int:
    """The number of weights in all parts of a pipeline, by the headers of their files."""
    count = 0
    for name in kind_of(folder).part_names:
        try:
            with safe_open(folder / name / "model.safetensors", "pt") as file:
                count += sum(math.prod(file.get_slice(tensor).get_shape()) for tensor in file.keys())
        except (OSError, SafetensorError):  # loading it will raise the error
            continue
    return count


def check_device(device: str) -> None:
    """ValueError unless torch knows the device and this machine has it."""
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # torch raises errors of several classes here
        why = str(error).splitlines()[0]
        raise ValueError(f"device: got {device!r} ({why}); give cpu, or cuda where there is a GPU") from error


def fingerprint(name: str | Path) -> str:
    """SHA-256 over the tokenizer's two files: codes are compatible only between tokenizers of equal fingerprints."""
    return part_fingerprint(find(name) / "tokenizer")


def checksum(folder: Path) -> str:
    """SHA-256 over a pipeline's configuration, and the configurations and weights of its parts."""
    parts = [f"{name}/{file}" for name in kind_of(folder).part_names for file in ("config.json", "model.safetensors")]
    return fingerprint_of(folder, ["config.json", *parts])
