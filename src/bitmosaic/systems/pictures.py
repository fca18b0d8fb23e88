"""Pictures of a claim's page: each trial of the first seed keeps a row of images, and the page shows the rows one above another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitmosaic.images import save, sheet, to_uint8
from bitmosaic.systems.base import Task

NAME = "shown"


def keep_row(task: Task, images: Tensor) -> None:
    """Writes images (n, C, H, W) in [0, 1] of a task beside its figures."""
    path = _path(task.folder, task.trial, task.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({NAME: to_uint8(images).contiguous()}, path)


def picture_of(out: Path, file: str, trials: Sequence[str], alt: str, above: Mapping[str, Tensor] | None = None) -> list[str]:
    """Writes out/`file` from the rows kept by the trials of the first seed, and returns its line of Markdown; [] where there are none.

    above: rows by name to show above those, each (n, C, H, W) in [0, 1].
    """
    there = [trial for trial in trials if _path(out, trial, 0).exists()]
    if not there:
        return []
    rows = dict(above or {}) | {trial: load_file(_path(out, trial, 0))[NAME].float() / 255 for trial in there}
    save(sheet(torch.stack(list(rows.values())), list(rows), scale=2), out / file)
    return [f"![{alt}]({file})"]


def _path(folder: Path, trial: str, seed: int) -> Path:
    return folder / "results" / f"{trial.replace(' ', '-')}-{seed}.safetensors"
