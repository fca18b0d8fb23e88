"""A stage: one game played to its end in one folder, with a progress bar, metrics, pictures, checkpoints; it resumes by itself.

    folder/metrics.jsonl   one line every `log_every` steps
    folder/pictures/       a grid every `pictures_every` steps
    folder/checkpoints/    the newest `keep`
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from bitmosaic.images import ImageSet, save
from bitmosaic.nets.precision import resolve
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.game import Game
from bitmosaic.train.loop import State, play
from bitmosaic.train.training import Training


def play_stage(
    folder: Path, title: str, game: Game, batches: Any, training: Training, pictures: Callable[[State], Image.Image] | None = None,
    images: ImageSet | None = None, device: str = "cpu",
) -> State:  # fmt: skip
    """Plays `game` on `batches(step)` on `device` to the end of `training` and returns its state.

    Where `folder` holds a checkpoint the game goes on from there; lines of metrics after it are dropped and made again.
    `images` is asked once an epoch which files it could not read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for player in game.players.values():
        player.to(device)
        if torch.device(device).type == "cpu" and resolve(training.precision) == "float32":
            player.to(memory_format=torch.channels_last)  # float32 convolutions train 1.4 times as fast (docs/log.md), bf16 ones do not
    state = State.start(game, training)
    if load_checkpoint(folder / "checkpoints", state):
        tqdm.write(f"{title}: goes on from step {state.step} of {training.steps}")
    log = Log(folder / "metrics.jsonl", state.step, training, device)
    told, saved = "", time.monotonic()
    with tqdm(total=training.steps, initial=state.step, desc=title, unit="step", dynamic_ncols=True) as bar:
        for progress in play(state, batches, training, device):
            bar.update()
            if not log.add(progress.step, progress.metrics):
                continue
            bar.set_postfix_str(log.text())
            last = progress.step == training.steps
            if pictures is not None and (last or progress.step // training.pictures_every > log.pictured):
                log.pictured = progress.step // training.pictures_every
                save(pictures(state), folder / "pictures" / f"step-{progress.step:06d}.png")
            if last or time.monotonic() - saved > training.checkpoint_seconds:
                save_checkpoint(folder / "checkpoints", state, training.keep)
                saved = time.monotonic()
            if images is not None and (last or batches.epoch(progress.step) // 1 > log.epoch):
                log.epoch = batches.epoch(progress.step) // 1
                if images.unreadable_summary() != told:
                    told = images.unreadable_summary()
                    tqdm.write(f"{title}: {told}")
    return state


class Log:
    """metrics.jsonl: the mean of each metric since the line before, images a second, memory, and seconds of all runs together."""

    def __init__(self, path: Path, step: int, training: Training, device: str = "cpu"):
        self.path, self.training, self.device = path, training, device
        kept = [line for line in _lines(path) if line["step"] <= step]
        beside = path.with_name(path.name + ".new")
        beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        beside.rename(path)
        self.seconds = kept[-1]["seconds"] if kept else 0.0
        self.since, self.sums, self.count, self.line = time.monotonic(), {}, {}, {}
        self.pictured, self.epoch = step // training.pictures_every, 0

    def add(self, step: int, metrics: dict[str, Any]) -> bool:
        """Counts one step; True where a line was written."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.count[name] = self.count.get(name, 0) + 1
        if step % self.training.log_every and step != self.training.steps:
            return False
        now = time.monotonic()
        steps = step % self.training.log_every or self.training.log_every
        speed = steps * self.training.batch_size / max(now - self.since, 1e-9)
        self.seconds, self.since = self.seconds + now - self.since, now
        means = {name: float(total) / self.count[name] for name, total in self.sums.items()}
        self.line = {
            "step": step, **means, "seconds": round(self.seconds, 2), "images_per_second": round(speed, 2),
            "memory_gib": round(peak_memory(self.device), 3),
        }  # fmt: skip
        with self.path.open("a") as file:
            file.write(json.dumps(self.line) + "\n")
        self.sums, self.count = {}, {}
        return True

    def text(self) -> str:
        """The newest line, for the progress bar."""
        loss = self.line.get("loss", float("nan"))
        return f"loss {loss:.4f}, {self.line['images_per_second']:.0f} images/s, {self.line['memory_gib']:.1f} GiB"


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a last one cut short by a crash is dropped."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def peak_memory(device: str = "cpu") -> float:
    """The most memory that this process has held on `device`, in GiB."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def averaged(state: State, player: str) -> nn.Module:
    """The averaged weights of a player, ready for use."""
    return state.averages[player].module.eval()
