"""Plays one game to its end in one folder, with a progress bar, metrics, pictures and checkpoints; resumes by itself.

    folder/metrics.jsonl   one line every `log_every` steps
    folder/events.jsonl    a line for each start, resume, stop, step left out, and change in what images cannot be read
    folder/pictures/       a grid every `pictures_every` steps; none where the last move was left out
    folder/checkpoints/    the newest `keep`
"""

from __future__ import annotations

import copy
import dataclasses
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from bitmosaic.codes import Codes
from bitmosaic.disk import writing
from bitmosaic.images import SOFTWARE, ImageSet, ImagesGone, save
from bitmosaic.names import plain
from bitmosaic.nets.precision import resolve
from bitmosaic.train.averages import settled
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.game import Game, Notice
from bitmosaic.train.log import Log
from bitmosaic.train.loop import NotFinite, Progress, State, play
from bitmosaic.train.processes import any_process, gathered, is_first, is_sharded, world_size
from bitmosaic.train.progress import ProgressBar
from bitmosaic.train.training import TrainingSpec


def play_stage(
    folder: Path, title: str, game: Game, batches: Any, training: TrainingSpec,
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
    put(game, training, device)
    state, say = State.start(game, training, device), tqdm.write if is_first() else str
    notes = load_checkpoint(folder / "checkpoints", state, say)
    if notes is not None:
        say(f"{title}: goes on from step {state.step} of {training.steps}")
    log = Log(folder, state.step, training, device, notes or {}, board and board / folder.name)
    if state.step < training.steps:
        log.event("started" if notes is None else "resumed", processes=world_size())
    stage = Stage(folder, title, state, training, device, log, say)
    with ProgressBar(title, training.steps, "step", state.step) as shown, Termination() as termination:
        try:
            for progress in play(state, batches, training, device):
                whole = log.add(progress)
                if whole:
                    shown.say(log.text())
                shown.update()
                stage.spoilt = bool(progress.skips)
                if progress.step < training.steps:
                    stage.leave_if(termination, progress)
                if not whole:
                    continue
                stage.tell()
                stage.look_at(images, progress, batches)
                stage.draw(progress, pictures)
                stage.save_if_due(progress)
            stage.leave_if(termination, None)
        except NotFinite as error:
            raise stage.kept(error) from error
        except ImagesGone as error:
            stage.interrupted(error)
            raise
    return state


def put(game: Game, training: TrainingSpec, device: str) -> None:
    """Moves the players to `device`, in the memory layout that is fast there; those that will be sharded are put there in shards."""
    for player in game.modules().values():
        if training.sharded and world_size() > 1:
            continue
        player.to(device)
        flat = all(p.ndim < 5 for p in player.parameters())  # that layout is of pictures
        if flat and torch.device(device).type == "cpu" and resolve(training.precision) == "float32":
            player.to(memory_format=torch.channels_last)  # float32 convolutions train 1.4 times as fast (docs/log.md), bf16 ones do not


class Stage:
    """What `play_stage` does between steps. All processes call, since some of it is done by all."""

    def __init__(
        self, folder: Path, title: str, state: State, training: TrainingSpec, device: str, log: Log, say: Callable[[str], object]
    ):  # fmt: skip
        self.folder, self.title, self.state, self.training, self.device = folder, title, state, training, device
        self.log, self.say, self.told, self.saved = log, say, "", time.monotonic()
        self.noticed: Notice | None = None  # what the game has last told
        self.spoilt = False  # whether a move of the last step was left out: the checkpoint before is the last good one

    def save(self) -> None:
        """A checkpoint, now."""
        save_checkpoint(self.folder / "checkpoints", self.state, self.training.keep, self.log.notes())
        self.saved = time.monotonic()

    def leave_if(self, termination: Termination, progress: Progress | None) -> None:
        """SystemExit, with a checkpoint, where SIGTERM has come to any process; `progress` None: the last step is done and saved."""
        if not any_process(termination.asked, self.device):
            return
        if progress is not None and not self.spoilt:
            self.save()
        self.log.event("stopped")
        how = "told to end; the same command again goes on from the last checkpoint"
        self.say(f"{self.title}: {how if progress else 'told to end, and done; the same command again goes on behind it'}")
        raise SystemExit(128 + signal.SIGTERM)

    def draw(self, progress: Progress, pictures: Callable[[dict[str, nn.Module]], Image.Image] | None) -> None:
        """A grid of pictures, where one is due."""
        number, last = progress.step // self.training.pictures_every, progress.step == self.training.steps
        if pictures is None or self.spoilt or not (last or number > self.log.pictured):
            return
        self.log.pictured = number
        averages = {name: averaged(self.state, name) for name in self.state.game.players}
        if not is_first():
            return
        try:
            picture = pictures(averages)
        except (ValueError, RuntimeError) as error:  # as of weights too large to give finite pixels: what to make of these, the loop says
            self.log.event("no picture", why=" ".join(str(error).split())[:300])
            self.say(plain(f"{self.title}: no picture of step {progress.step:,}: {' '.join(str(error).split())[:300]}"))
        else:
            save(picture, self.folder / "pictures" / f"step-{progress.step:06d}.png", Software=SOFTWARE)

    def save_if_due(self, progress: Progress) -> None:
        """A checkpoint, where the first process's clock says so and no move was left out, and at the end."""
        due = any_process(is_first() and time.monotonic() - self.saved > self.training.checkpoint_seconds, self.device)
        if progress.step == self.training.steps or (due and not self.spoilt):
            self.save()

    def tell(self) -> None:
        """Reports what the game has to say, where that is new."""
        notice = self.state.game.notice()
        if notice is not None and notice != self.noticed:
            self.noticed = notice
            self.log.event(notice.event, **notice.values)
            self.say(f"{self.title}: {notice.text}")

    def interrupted(self, error: ImagesGone) -> None:
        """Keeps what was learned until images went, where one process can."""
        self.log.event("images gone", images=error.gone)
        if world_size() == 1 and not self.spoilt and self.state.step:
            with suppress(OSError):  # it may lie on the same disk
                self.save()
                self.say(f"{self.title}: stopped at step {self.state.step:,} of {self.training.steps:,}, which is saved")

    def look_at(self, images: ImageSet | None, progress: Progress, batches: Any) -> None:
        """Once an epoch, whether images are there, those in memory too, or ImagesGone; and what cannot be read, where that has changed."""
        if images is None or not is_first():
            return
        epoch = batches.epoch(progress.step * self.training.parts) // 1
        if progress.step < self.training.steps and epoch <= self.log.epoch:
            return
        self.log.epoch = epoch
        images.check_there()
        if images.unreadable_summary() != self.told:
            self.told = images.unreadable_summary()
            self.log.event("unreadable", images=len(images.unreadable), told=self.told)
            self.say(f"{self.title}: {self.told}")

    def kept(self, error: NotFinite) -> ValueError:
        """What to raise; the batch is kept."""
        kept = self.folder / f"not-finite-{error.step:08d}.safetensors"
        if is_first():
            with writing(kept):
                save_file(_tensors(error.batch), kept)
        self.log.event("not finite", batch=kept.name)
        return ValueError(f"{self.title}: {error}; the last batch is kept in {kept}")


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


def _tensors(batch: Any) -> dict[str, torch.Tensor]:
    """The tensors of a batch, by the names of its fields."""
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    found = {name: value.digits if isinstance(value, Codes) else value for name, value in found.items()}
    return {name: value.contiguous() for name, value in found.items() if isinstance(value, torch.Tensor)}


def averaged(state: State, player: str) -> nn.Module:
    """The averaged weights of a player, or a copy of its last ones where it has no average, ready for use.

    Of a sharded state all processes must ask, and the first alone gets them whole.
    """
    kept = state.averages.get(player)
    module = copy.deepcopy(state.game.players[player]).requires_grad_(False) if kept is None else kept.module
    if is_sharded(module):
        module = gathered(module) or module
    return settled(module).eval()
