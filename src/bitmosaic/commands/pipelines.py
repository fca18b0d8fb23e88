"""Pipelines by name or folder, for the commands; the folder of a training run stands for the pipeline that it made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from bitmosaic.folders import part_fingerprint
from bitmosaic.pipelines import Pipeline, find_pipeline


def find(name: str | Path) -> Path:
    """The folder of a pipeline: in the zoo, on disk, or inside a training run that has ended."""
    folder = Path(name).expanduser()
    if (folder / "run.json").is_file():
        if not (folder / "pipeline" / "config.json").is_file():
            raise ValueError(f"the training in {folder} has not ended; the same command again goes on where it was")
        return folder / "pipeline"
    return find_pipeline(folder if str(name).startswith("~") else name)


def load(name: str | Path, device: str = "cpu") -> Pipeline:
    """The pipeline of that name or in that folder, on a device."""
    check_device(device)
    return Pipeline.from_pretrained(find(name), device)


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
    """SHA-256 over configuration and weights of both parts."""
    digest = hashlib.sha256()
    for file in ("config.json", "tokenizer/config.json", "tokenizer/model.safetensors", "prior/config.json", "prior/model.safetensors"):
        with (folder / file).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
