"""Run, Stage, Job: data and the stages that make a pipeline of it, as one frozen description, and one run of it in one folder.

A stage is one resumable part of a run: it declares what it needs, what it makes and how it is played. Runs, dry runs, plans, `info`,
`report` and resuming iterate over stages and know none by name. What stages pass on has a name: "features", "tokenizer", "codes",
"pipeline".
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tqdm import tqdm

from bitmosaic.images import ImageSet
from bitmosaic.images.specs import FashionSampleSpec, ImagesSpec
from bitmosaic.spec import Spec, later
from bitmosaic.train.game import Game
from bitmosaic.train.training import TrainingSpec


@dataclass(frozen=True)
class Stage(Spec, abc.ABC, abstract=True):
    """One stage of a run. Its fields are attributes of the run, too, so no two stages of a run share a field name."""

    name: ClassVar[str]  # its folder in the run's, and what it is called in messages
    makes: ClassVar[tuple[str, ...]]  # what later stages may need
    files: ClassVar[tuple[str, ...]] = ()  # that it leaves in the run's folder; the first shows that it is done
    pictured: ClassVar[str] = "Samples"  # what its pictures show

    @property
    def needs(self) -> tuple[str, ...]:
        """What earlier stages must have made."""
        return ()

    @property
    def training(self) -> TrainingSpec | None:
        """Of a stage that trains."""
        return None

    def with_training(self, training: TrainingSpec) -> Stage:
        """The stage with other training settings."""
        raise NotImplementedError(f"{type(self).__name__} trains nothing")

    @abc.abstractmethod
    def play(self, job: Job) -> dict[str, Any]:
        """What it makes, by name: computed, resumed, or read from the run's folder where it is done."""

    def check_run(self, run: Run) -> None:
        """ValueError where it does not fit the run's other stages."""

    def check(self, run: Run, source: Any) -> None:
        """ValueError where it does not fit the data; called before anything is written."""

    def outside(self) -> dict[str, Path]:
        """Files outside the run's folder on which the result depends, by what run.json calls their checksums."""
        return {}

    def game(self, made: Mapping[str, Any]) -> Game:
        """The game that a training stage plays, with weights from torch's global generator; made: by earlier stages."""
        raise NotImplementedError(f"{type(self).__name__} trains nothing")

    def batch(self, run: Run, images: int) -> Any:
        """A batch for its game, of any content, for planning."""
        raise NotImplementedError(f"{type(self).__name__} trains nothing")

    def unmade(self) -> dict[str, Any]:
        """Untrained stand-ins for what it makes, as later games need them, for planning."""
        return {}

    def report(self, out: Path) -> tuple[str, Any] | None:
        """A name and what was measured at its end, from the run's folder; None where there is nothing. ValueError where it is damaged."""
        return None

    def about(self) -> tuple[str, ...]:
        """Short descriptions of its parts."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Remarks on settings that users might not expect."""
        return ()

    def done(self, out: Path) -> bool:
        """Whether what it makes is there."""
        return bool(self.files) and (out / self.files[0]).exists()


@dataclass(frozen=True)
class Run(Spec):
    """Data and a sequence of stages. Fields of stages are attributes of the run: `run.prior` is that of its PriorStage, and
    `changed(prior=...)` replaces it.
    """

    name: str = "run"
    data: ImagesSpec = FashionSampleSpec()
    stages: tuple[Stage, ...] = ()
    flip: bool = False  # mirror training images left to right with probability 1/2
    reasons: tuple[str, ...] = ()  # why sizes were chosen, a line each
    shift: float = later(0.0, lambda _: 0.0)  # share of training images that are moved partly out of view (images/shift.py)

    def __post_init__(self):
        names = [field.name for part in (self, *self.stages) for field in dataclasses.fields(part)]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"stages: two have {', '.join(sorted(twice))} in common")
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift: got {self.shift}; want a share in [0, 1)")
        made: set[str] = set()
        for stage in self.stages:
            if missing := set(stage.needs) - made:
                raise ValueError(f"stages: the {stage.name} stage needs {', '.join(sorted(missing))}, which no stage before it makes")
            made |= set(stage.makes)
        for stage in self.stages:
            stage.check_run(self)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name != "stages":
            for stage in self.stages:
                if any(field.name == name for field in dataclasses.fields(stage)):
                    return getattr(stage, name)
        raise AttributeError(f"a run of {', '.join(stage.name for stage in self.stages) or 'no stages'} has no {name}")

    def outside(self) -> dict[str, Path]:
        """Files outside the run's folder on which its result depends, by what run.json calls their checksums."""
        return {name: path for stage in self.stages for name, path in stage.outside().items()}

    def stage(self, name: str) -> Stage:
        """One of its stages."""
        return next(stage for stage in self.stages if stage.name == name)

    def changed(self, **fields: Any) -> Run:
        """The run with fields changed, its own or those of its stages. ValueError names one that it does not have."""
        own, stages = {field.name for field in dataclasses.fields(self)}, []
        changes, left = {name: value for name, value in fields.items() if name in own}, fields.keys() - own
        for stage in changes.pop("stages", self.stages):
            theirs = {field.name: fields[field.name] for field in dataclasses.fields(stage) if field.name in fields}
            stages.append(dataclasses.replace(stage, **theirs))
            left -= theirs.keys()
        if left:
            raise ValueError(f"{', '.join(sorted(left))}: no field of a run of {', '.join(stage.name for stage in self.stages)}")
        return dataclasses.replace(self, stages=tuple(stages), **changes)

    def without(self, *names: str) -> Run:
        """The run without those of its stages."""
        return dataclasses.replace(self, stages=tuple(stage for stage in self.stages if stage.name not in names))

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Descriptions from before there were stages: a feature network, a tokenizer, its codes and a prior; or a prior on given codes."""
        if "stages" in fields or "prior" not in fields:
            return fields
        old = dict(fields)
        given = isinstance(old.get("images"), dict) and old["images"].get("type") == "CodesSpec"
        kinds = [
            *[("FeaturesStage", ("features",))] * (old.get("features") is not None),
            *([("GivenCodesStage", ("tokenizer", "code_draws"))] if given else [
                ("TokenizerStage", ("tokenizer", "tokenizer_losses", "tokenizer_training")), ("CodesStage", ("code_draws",))]),
            ("PriorStage", ("prior", "class_dropout", "prior_training", "sampler")),
        ]  # fmt: skip
        stages = [{"type": kind, **{name: old.pop(name) for name in names if name in old}} for kind, names in kinds]
        for name in ("features", "tokenizer_losses", "tokenizer_training"):
            old.pop(name, None)
        return {"data": old.pop("images", None), "stages": stages, **old}


@dataclass(frozen=True)
class Job:
    """One run in one folder, as its stages see it."""

    run: Run
    out: Path
    source: Any  # an ImageSet, or the Manifest of codes that 'bitmosaic tokenize' made
    say: Callable[[str], object] = tqdm.write
    device: str = "cpu"
    board: Path | None = None  # where TensorBoard's files go
    made: dict[str, Any] = field(default_factory=dict)  # by the stages before, by what it is called

    @property
    def images(self) -> ImageSet:
        """The data, of a run on images."""
        assert isinstance(self.source, ImageSet)
        return self.source


def play_all(stages: tuple[Stage, ...], job: Job) -> dict[str, Any]:
    """Plays stages, one after another; all that was made."""
    made = dict(job.made)
    for stage in stages:
        made |= stage.play(Job(job.run, job.out, job.source, job.say, job.device, job.board, made))
    return made


def flat(described: Any) -> Any:
    """The JSON of a run with the fields of its stages beside its own, as `Run.changed` takes them."""
    if not isinstance(described, dict) or not isinstance(described.get("stages"), list):
        return described
    found = {name: value for name, value in described.items() if name != "stages"}
    stages = [stage for stage in described["stages"] if isinstance(stage, dict)]
    for stage in stages:
        found |= {name: value for name, value in stage.items() if name != "type"}
    return {**found, "stages": [stage.get("type") for stage in stages]}


class Reason(str):
    """Why a run is as it is, in the run's own values: of a changed run it is told anew."""

    tell: Callable[[Run], str]

    @staticmethod
    def of(tell: Callable[[Run], str], run: Run) -> Reason:
        """What `tell` says of a run; empty where there is nothing to say."""
        reason = Reason(tell(run))
        reason.tell = tell
        return reason

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Goes to other processes as text."""
        return str, (str(self),)


def retold(reasons: Sequence[str], run: Run) -> tuple[str, ...]:
    """Reasons of a run, as they are of another that was made from it."""
    every = [Reason.of(reason.tell, run) if isinstance(reason, Reason) else reason for reason in reasons]
    return tuple(reason for reason in every if reason)
