"""Continues a run with more steps than it was begun with.

A stage continues from its last checkpoint. A decaying learning rate depends on the number of steps, so from there on it is that of the new
number: it rises first, and the result differs from that of as many steps from the start. What was made from the stage (such as the codes of
a tokenizer, a prior on these, the pipeline) is moved to STAGE-of-N-steps/ and made anew.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmosaic.names import plain
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.run import Run, Stage
from bitmosaic.train.training import TrainingSpec


@dataclass(frozen=True)
class AddedSteps:
    """Steps that are added to a stage: `at` are made, of `before` that were asked for; `made` is what lies there of it."""

    stage: str
    training: TrainingSpec
    before: int
    at: int
    made: tuple[str, ...]

    def text(self, anew: bool) -> str:
        """What it means. anew: the stage before it has other steps too, so that this one begins again."""
        now = self.training.steps
        said = f"{self.stage}: {self.before:,} steps were asked for when the run began, and now {now:,}"
        if anew or not self.at:
            return said
        said += f"; it goes on from step {self.at:,}"
        falling = next((player for player in self.training.players() if player.decay != "constant"), None)
        if falling is None:
            return f"{said}, and ends as if {now:,} had been asked for at once"
        here, last = falling.rate(self.at, now), falling.rate(self.at - 1, self.before)
        return (
            f"{said}. The learning rate falls along the {falling.decay} of {now:,} steps from here on, so it is {here:.2g} now, after "
            f"{last:.2g} in the step before: the result is reproducible, but it is not that of {now:,} steps at once"
        )


def more_steps(out: Path, found: Run, run: Run) -> list[AddedSteps]:
    """Stages for which `run` asks for more steps than the one that was `found` does. ValueError where one cannot go on."""
    before_of = {stage.name: stage.training for stage in found.stages if stage.training is not None}
    added = []
    for stage in run.stages:
        before, training = before_of.get(stage.name), stage.training
        if before is None or training is None or before.steps >= training.steps:
            continue
        there = checkpoints(out / stage.name / "checkpoints")
        at, made = int(there[-1].name.removeprefix("step-")) if there else 0, tuple(p for p in left_by(run, stage) if (out / p).exists())
        if stage.files[0] in made and at != before.steps:
            raise ValueError(
                f"{stage.name}: {before.steps:,} steps are done, and {training.steps:,} are asked for, but the last checkpoint, from which "
                f"it would go on, is not in {out / stage.name / 'checkpoints'}; put it back, or give another folder"
            )
        added.append(AddedSteps(stage.name, training, before.steps, at, made))
    return added


def left_by(run: Run, stage: Stage) -> Iterator[str]:
    """What lies in the run's folder of a stage that is done, and of all that is made of it."""
    yield from stage.files
    made = set(stage.makes)
    for other in run.stages[run.stages.index(stage) + 1 :]:
        if made & set(other.needs):
            made |= set(other.makes)
            yield other.name
            yield from (path for path in other.files if path.split("/")[0] != other.name)


def with_more(found: Run, added: list[AddedSteps]) -> Run:
    """The run with as many steps as are asked for now."""
    steps = {more.stage: more.training.steps for more in added}
    return dataclasses.replace(found, stages=tuple(
        stage.with_training(dataclasses.replace(stage.training, steps=steps[stage.name])) if stage.name in steps else stage
        for stage in found.stages))  # fmt: skip


def go_on(out: Path, added: list[AddedSteps], say: Callable[[str], object]) -> list[dict[str, Any]]:
    """Puts aside what is to be made anew, and tells; what to note in run.json. Where this is broken off, it can be done again."""
    gone: set[str] = set()
    for more in added:
        say(plain(more.text(more.stage in gone)))
        aside, moved = out / f"{more.stage}-of-{more.before}-steps", []
        for name in reversed(more.made):
            place = aside / name
            if place.exists():
                place = place.with_name(f"{place.name}-{uuid.uuid4().hex[:8]}")
            if (out / name).exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                (out / name).rename(place)
                moved.append(name)
        if moved:
            say(plain(f"{more.stage}: what was made of it ({', '.join(moved)}) is put aside into {aside}"))
        gone.update(more.made)
    return [{"stage": more.stage, "at": more.at, "steps": more.before, "now": more.training.steps} for more in added]
