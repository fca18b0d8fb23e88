"""A stage: one game played to its end in one folder, with a progress bar, metrics, pictures, checkpoints; it resumes by itself.

    folder/metrics.jsonl   one line every `log_every` steps
    folder/events.jsonl    a line for each start, resume, stop, step left out, and change in what images cannot be read
    folder/pictures/       a grid every `pictures_every` steps
    folder/checkpoints/    the newest `keep`
"""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from bitmosaic.codes import Codes
from bitmosaic.folders import parse_json
from bitmosaic.images import ImageSet, save
from bitmosaic.nets.precision import resolve
from bitmosaic.train.board import Board
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.game import Game
from bitmosaic.train.loop import NotFinite, Progress, State, play
from bitmosaic.train.processes import agreed, first, gathered, is_sharded, size
from bitmosaic.train.training import Training


def play_stage(
    folder: Path, title: str, game: Game, batches: Any, training: Training,
    pictures: Callable[[dict[str, nn.Module]], Image.Image] | None = None,
    images: ImageSet | None = None, device: str = "cpu", board: Path | None = None,
) -> State:  # fmt: skip
    """Plays `game` on `batches(step)` on `device` to the end of `training` and returns its state.

    pictures: drawn from the averaged players, by name. Where `folder` holds a checkpoint the game goes on from there; lines of metrics
    after it are dropped and made again. `images` is asked once an epoch which files it could not read. `board`: metrics go into
    `board`/(the name of `folder`) for TensorBoard too. SIGTERM saves and ends with SystemExit. ValueError where losses stay not finite:
    the batch is kept as `folder`/not-finite-N.safetensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for player in game.players.values():
        if training.sharded and size() > 1:
            continue  # is put there in shards
        player.to(device)
        if torch.device(device).type == "cpu" and resolve(training.precision) == "float32":
            player.to(memory_format=torch.channels_last)  # float32 convolutions train 1.4 times as fast (docs/log.md), bf16 ones do not
    state = State.start(game, training, device)
    say = tqdm.write if first() else str
    notes = load_checkpoint(folder / "checkpoints", state, say)
    if notes is not None:
        say(f"{title}: goes on from step {state.step} of {training.steps}")
    log = Log(folder, state.step, training, device, notes or {}, board and board / folder.name)
    if state.step < training.steps:
        log.event("started" if notes is None else "resumed", processes=size())

    def save_state() -> float:
        save_checkpoint(folder / "checkpoints", state, training.keep, log.notes())
        return time.monotonic()

    told, saved = "", time.monotonic()
    shown = {"total": training.steps, "initial": state.step, "desc": title, "unit": "step", "dynamic_ncols": True, "disable": not first()}
    with tqdm(**shown) as bar, Termination() as termination, closing(log):
        try:
            for progress in play(state, batches, training, device):
                bar.update()
                last, whole = progress.step == training.steps, log.add(progress)
                if not last and agreed(termination.asked, device):
                    if not progress.skips:  # else the checkpoint before is the last good one
                        save_state()
                    log.event("stopped")
                    say(f"{title}: told to end; the same command again goes on from the last checkpoint")
                    raise SystemExit(128 + signal.SIGTERM)
                if not whole:
                    continue
                bar.set_postfix_str(log.text())
                if pictures is not None and (last or progress.step // training.pictures_every > log.pictured):
                    log.pictured = progress.step // training.pictures_every
                    averages = {name: averaged(state, name) for name in state.averages}
                    if first():
                        save(pictures(averages), folder / "pictures" / f"step-{progress.step:06d}.png")
                due = agreed(first() and time.monotonic() - saved > training.checkpoint_seconds, device)
                if last or (due and not progress.skips):
                    saved = save_state()
                epoch = batches.epoch(progress.step * training.parts) // 1 if images is not None else 0
                if images is not None and (last or epoch > log.epoch):
                    log.epoch = epoch
                    if images.unreadable_summary() != told:
                        told = images.unreadable_summary()
                        log.event("unreadable", images=len(images.unreadable), told=told)
                        say(f"{title}: {told}")
            if agreed(termination.asked, device):  # during the last step
                log.event("stopped")
                say(f"{title}: told to end, and done; the same command again goes on behind it")
                raise SystemExit(128 + signal.SIGTERM)
        except NotFinite as error:
            kept = folder / f"not-finite-{error.step:08d}.safetensors"
            if first():
                save_file(_tensors(error.batch), kept)
            log.event("not finite", batch=kept.name)
            raise ValueError(f"{title}: {error}; the last batch is kept in {kept}") from error
    return state


class Termination:
    """Whether SIGTERM has come; inside the block it is only noted. In the main thread: elsewhere Python takes no signals."""

    def __init__(self):
        self.asked, self.held, self.here = False, None, threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Termination:
        if self.here:
            self.held = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *exception) -> None:
        if self.here:
            signal.signal(signal.SIGTERM, self.held)

    def _note(self, number, frame) -> None:
        self.asked = True


class Log:
    """metrics.jsonl: the mean of each metric since the line before, images a second, memory, and seconds of all runs together.

    events.jsonl: what happened, at which step. The first process writes, the others only count. `notes` go into a checkpoint, so that
    it may be written between two lines. board: a folder for TensorBoard's copy of the lines.
    """

    def __init__(
        self, folder: Path, step: int, training: Training, device: str = "cpu", notes: dict[str, Any] | None = None,
        board: Path | None = None,
    ):  # fmt: skip
        self.path, self.events, self.training, self.device = folder / "metrics.jsonl", folder / "events.jsonl", training, device
        self.step, notes, kept = step, _checked(notes or {}), []
        if first():
            kept = _rewritten(self.path, lambda line: line["step"] <= step)
            _rewritten(self.events, lambda line: line["step"] <= step or line.get("event") != "skipped")
        self.seconds = kept[-1].get("seconds", 0.0) if kept else 0.0
        self.since = time.monotonic() - notes.get("seconds", 0.0)
        self.sums, self.count, self.line = notes.get("sums", {}), notes.get("count", {}), {}
        self.pictured, self.epoch = notes.get("pictured", step // training.pictures_every), 0
        self.board = Board(board, kept) if board is not None and first() else None

    def close(self) -> None:
        """Ends TensorBoard's file; the others are closed after each line."""
        if self.board is not None:
            self.board.close()

    def notes(self) -> dict[str, Any]:
        """What `__init__` needs to go on from here."""
        return {
            "pictured": self.pictured, "sums": {name: float(total) for name, total in self.sums.items()}, "count": self.count,
            "seconds": time.monotonic() - self.since if self.count else 0.0,
        }  # fmt: skip

    def event(self, what: str, **more) -> None:
        """Writes one down, at the last step counted."""
        if not first():
            return
        with self.events.open("a") as file:
            file.write(json.dumps({"step": self.step, "event": what, "time": round(time.time()), **more}) + "\n")

    def add(self, progress: Progress) -> bool:
        """Counts one step; True where a line was written."""
        self.step = step = progress.step
        for skip in progress.skips:
            self.event("skipped", player=skip.player, loss=str(skip.loss), gradient=str(skip.gradient))
            if first():
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
        if first():
            with self.path.open("a") as file:
                file.write(json.dumps(self.line) + "\n")
        if self.board is not None:
            self.board.add(self.line)
        self.sums, self.count = {}, {}
        return True

    def text(self) -> str:
        """The newest line, for the progress bar."""
        loss = self.line.get("loss", float("nan"))
        return f"loss {loss:.4f}, {self.line['images_per_second']:.0f} images/s, {self.line['memory_gib']:.1f} GiB"


def _rewritten(path: Path, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The lines of a file that are to be kept, and the file with them alone."""
    kept = [line for line in _lines(path) if keep(line)]
    beside = path.with_name(path.name + ".new")
    beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
    beside.rename(path)
    return kept


def _tensors(batch: Any) -> dict[str, torch.Tensor]:
    """The tensors of a batch, by the names of its fields."""
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    found = {name: value.digits if isinstance(value, Codes) else value for name, value in found.items()}
    return {name: value.contiguous() for name, value in found.items() if isinstance(value, torch.Tensor)}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of metrics or events up to the first that is none; a last one cut short by a crash is dropped."""
    lines = []
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
    """The most memory that this process has held on `device`, in GiB."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def averaged(state: State, player: str) -> nn.Module:
    """The averaged weights of a player, ready for use. Of a sharded state all processes must ask, and the first alone gets them whole."""
    module = state.averages[player].module
    if is_sharded(module):
        module = gathered(module) or module
    return module.eval()
