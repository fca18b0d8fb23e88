"""Checkpoints by torch.distributed.checkpoint: written beside, then renamed, so that the newest one is always whole."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from bitmosaic.train.loop import State


def save_checkpoint(folder: Path, state: State, keep: int) -> Path:
    """`folder/step-N`, all of `state`; older ones beyond the newest `keep` are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    final, beside = folder / f"step-{state.step:08d}", folder / f".step-{state.step:08d}.new"
    shutil.rmtree(beside, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is one process only
        try:
            dcp.save(state.state_dict(), storage_writer=dcp.FileSystemWriter(beside, single_file_per_rank=True), no_dist=True)
        except CheckpointException as error:  # torch's own is no Exception
            shutil.rmtree(beside, ignore_errors=True)
            raise OSError(f"checkpoint {final} cannot be written ({_first(error)}); the one before it stays") from error
    shutil.rmtree(final, ignore_errors=True)
    beside.rename(final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if re.fullmatch(r"step-\d{8,}", p.name))


def load_checkpoint(folder: Path, state: State) -> bool:
    """`state` as the newest checkpoint in `folder` has it; False where there is none. Raises ValueError where it cannot be read."""
    for beside in folder.glob(".step-*.new") if folder.is_dir() else ():
        shutil.rmtree(beside)  # a run was killed while writing it
    found = checkpoints(folder)
    if not found:
        return False
    parts = state.state_dict()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(parts, storage_reader=dcp.FileSystemReader(found[-1]), no_dist=True)
        state.load_state_dict(parts)
    except (Exception, CheckpointException) as error:
        raise ValueError(
            f"checkpoint {found[-1]} cannot be read ({_first(error)}); remove that folder to go on from the one before"
        ) from error
    return True


def _first(error: BaseException) -> str:
    """What went wrong, on one line: torch's exception holds one for each process."""
    inside = list(error.failures.values())[0][0] if getattr(error, "failures", None) else error
    return " ".join(str(inside).split())[:300] or type(inside).__name__
