"""The logs of a stage, metrics.jsonl and events.jsonl, which are continued when a run resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bitmosaic.disk import whole_file, writing
from bitmosaic.folders import check_plain, parse_json
from bitmosaic.memory import most_resident
from bitmosaic.train.board import Board
from bitmosaic.train.loop import Progress
from bitmosaic.train.processes import is_first
from bitmosaic.train.training import TrainingSpec


class Log:
    """metrics.jsonl: the mean of each metric since the line before, images a second, memory, and seconds of training in all.

    events.jsonl: what happened, and at which step. Only the first process writes. `notes` are stored in a checkpoint, which may be written
    between two lines. board: a folder for TensorBoard's copy of the lines.
    """

    def __init__(
        self, folder: Path, step: int, training: TrainingSpec, device: str = "cpu", notes: dict[str, Any] | None = None,
        board: Path | None = None,
    ):  # fmt: skip
        self.path, self.events, self.training, self.device = folder / "metrics.jsonl", folder / "events.jsonl", training, device
        self.step, notes, kept = step, _checked(notes or {}), []
        if is_first():
            kept = _rewritten(self.path, lambda line: line["step"] <= step)
            _rewritten(self.events, lambda line: line["step"] <= step or line.get("event") != "skipped")
        self.seconds = kept[-1].get("seconds", 0.0) if kept else 0.0
        self.since = time.monotonic() - notes.get("seconds", 0.0)
        self.sums, self.count, self.line = notes.get("sums", {}), notes.get("count", {}), {}
        as_before = notes.get("pictures_every", training.pictures_every) == training.pictures_every
        self.pictured, self.epoch = notes["pictured"] if "pictured" in notes and as_before else step // training.pictures_every, 0
        self.board = Board(board, kept) if board is not None and is_first() else None

    def notes(self) -> dict[str, Any]:
        """The state that `__init__` needs to resume from here."""
        return {
            "pictured": self.pictured, "pictures_every": self.training.pictures_every,
            "sums": {name: float(total) for name, total in self.sums.items()}, "count": self.count,
            "seconds": time.monotonic() - self.since if self.count else 0.0,
        }  # fmt: skip

    def event(self, what: str, **more) -> None:
        """Writes an event, at the last step counted."""
        if not is_first():
            return
        with writing(self.events), self.events.open("a") as file:
            file.write(json.dumps({"step": self.step, "event": what, "time": round(time.time()), **more}) + "\n")

    def add(self, progress: Progress) -> bool:
        """Counts one step; True where a line was written."""
        self.step = step = progress.step
        for skip in progress.skips:
            self.event("skipped", player=skip.player, loss=str(skip.loss), gradient=str(skip.gradient))
            if is_first():
                tqdm.write(f"step {step}: the {skip.player}'s move is left out: loss {skip.loss:g}, gradient {skip.gradient:g}")
        for name, value in {**progress.metrics, **({"skipped": 1.0} if progress.skips else {})}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.count[name] = self.count.get(name, 0) + 1
        if step % self.training.log_every and step != self.training.steps:
            return False
        now = time.monotonic()
        steps = step % self.training.log_every or self.training.log_every
        speed = steps * self.training.batch_size / max(now - self.since, 1e-9)
        self.seconds, self.since = self.seconds + now - self.since, now
        means = {name: float(total) / self.count[name] for name, total in self.sums.items()}
        if "skipped" in means:
            means["skipped"] = self.count["skipped"]  # steps
        self.line = {
            "step": step, **means, "seconds": round(self.seconds, 2), "images_per_second": round(speed, 2),
            "memory_gib": round(peak_memory(self.device), 3),
        }  # fmt: skip
        if is_first():
            with writing(self.path), self.path.open("a") as file:
                file.write(json.dumps(self.line) + "\n")
        if self.board is not None:
            self.board.add(self.line)
        self.sums, self.count = {}, {}
        return True

    def text(self) -> str:
        """The newest line, for the progress bar."""
        names = ["loss"] if "loss" in self.line else [name for name in self.line if f"{name}_gradient" in self.line]  # of players
        told = ", ".join(f"{name} {self.line[name]:.4f}" for name in names)
        memory = f", {self.line['memory_gib']:.1f} GiB" if self.line["memory_gib"] == self.line["memory_gib"] else ""  # not of NaN
        return f"{told}, {self.line['images_per_second']:.0f} images/s{memory}"


def _rewritten(path: Path, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The lines of a file that are to be kept, and the file with them alone."""
    kept = [line for line in _lines(path) if keep(line)]
    with whole_file(path) as beside:
        beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
    return kept


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of metrics or events up to the first that is none; a last one cut short by a crash is dropped."""
    lines = []
    check_plain(path)
    for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            line = parse_json(text)
        except ValueError:
            break
        if not isinstance(line, dict) or type(line.get("step")) is not int or not isinstance(line.get("seconds", 0.0), int | float):
            break
        lines.append(line)
    return lines


def _checked(notes: dict[str, Any]) -> dict[str, Any]:
    """Notes of a checkpoint as `Log.notes` makes them, or a ValueError."""
    sums, count = notes.get("sums", {}), notes.get("count", {})
    fits = isinstance(sums, dict) and isinstance(count, dict) and sums.keys() == count.keys()
    fits = fits and all(type(total) in (int, float) for total in sums.values()) and all(type(n) is int and n > 0 for n in count.values())
    if not fits or type(notes.get("seconds", 0.0)) not in (int, float) or type(notes.get("pictured", 0)) is not int:
        raise ValueError("the newest checkpoint's notes.json holds no sums and counts of metrics; remove that checkpoint")
    return notes


def peak_memory(device: str = "cpu") -> float:
    """Peak memory of this process on `device`, in GiB; NaN where the system does not report it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return most_resident() / 2**30
