"""More steps than a run was begun with: it goes on, and says what that is worth.

A stage that goes on does so from its last checkpoint. Its learning rate is a function of the step and of the number of steps, so one that
decays is from there on that of the new number: it rises first, and the end is not that of as many steps from the start. What was made of
the stage (such as the codes of a tokenizer, a prior on these, the pipeline) is put aside into STAGE-of-N-steps/ and made anew.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmosaic.names import plain
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.run import Run, TrainedFeatures
from bitmosaic.train.training import Training

MADE = {  # by each stage, and of what it has made
    "features": ("features.safetensors", "tokenizer", "codes", "prior", "pipeline"),
    "tokenizer": ("tokenizer/final", "codes", "prior", "pipeline"),
    "prior": ("pipeline",),
}


@dataclass(frozen=True)
class More:
    """Steps that are added to a stage: `at` are made, of `before` that were asked for; `made` is what lies there of it."""

    stage: str
    training: Training
    before: int
    at: int
    made: tuple[str, ...]

    def text(self, anew: bool) -> str:
        """What it means. anew: the stage before it has other steps too, so that this one begins again."""
        now, training = self.training.steps, self.training
        said = f"{self.stage}: {self.before:,} steps were asked for when the run began, and now {now:,}"
        if anew or not self.at:
            return said
        said += f"; it goes on from step {self.at:,}"
        if training.decay == "constant":
            return f"{said}, and ends as if {now:,} had been asked for at once"
        here, last = training.rate(self.at), dataclasses.replace(training, steps=self.before).rate(self.at - 1)
        return (
            f"{said}. The learning rate falls along the {training.decay} of {now:,} steps from here on, so it is {here:.2g} now, after "
            f"{last:.2g} in the step before: the result is reproducible, but it is not that of {now:,} steps at once"
        )


def more_steps(out: Path, found: dict[str, Any], run: Run) -> list[More]:
    """Stages for which `run` asks for more steps than the description `found` does. ValueError where one cannot go on."""
    trainings = {"tokenizer": run.tokenizer_training, "prior": run.prior_training}
    if isinstance(run.features, TrainedFeatures):
        trainings = {"features": run.features.training, **trainings}
    added = []
    for stage, training in trainings.items():
        before = _held(found, stage).get("steps")
        if not isinstance(before, int) or before >= training.steps:
            continue
        there = checkpoints(out / stage / "checkpoints")
        at, made = int(there[-1].name.removeprefix("step-")) if there else 0, tuple(name for name in MADE[stage] if (out / name).exists())
        if MADE[stage][0] in made and at != before:
            raise ValueError(
                f"{stage}: {before:,} steps are done, and {training.steps:,} are asked for, but the last checkpoint, from which it would "
                f"go on, is not in {out / stage / 'checkpoints'}; put it back, or give another folder"
            )
        added.append(More(stage, training, before, at, made))
    return added


def with_more(found: dict[str, Any], added: list[More]) -> dict[str, Any]:
    """The description with as many steps as are asked for now."""
    for more in added:
        steps = {**_held(found, more.stage), "steps": more.training.steps}
        found = {**found, **({"features": {**found["features"], "training": steps}} if more.stage == "features" else {
            f"{more.stage}_training": steps})}  # fmt: skip
    return found


def go_on(out: Path, added: list[More], say: Callable[[str], object]) -> list[dict[str, Any]]:
    """Puts aside what is to be made anew, and tells; what to note in run.json. Where this is broken off, it can be done again."""
    anew = False
    for more in added:
        say(plain(more.text(anew)))
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
        anew = anew or any(name in more.made for name in ("tokenizer", "prior"))
    return [{"stage": more.stage, "at": more.at, "steps": more.before, "now": more.training.steps} for more in added]


def _held(found: dict[str, Any], stage: str) -> dict[str, Any]:
    """The description of a stage's training; empty where there is none."""
    held = (found.get("features") or {}) if stage == "features" else found
    held = held.get("training" if stage == "features" else f"{stage}_training") if isinstance(held, dict) else None
    return held if isinstance(held, dict) else {}
