"""System and Claim: the description of a published system, and its paper's claim as one experiment at a small scale."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from filelock import FileLock

from bitmosaic.folders import read_json
from bitmosaic.train.run import Run

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # what was measured, by trial, one for each seed


@dataclass(frozen=True)
class System:
    """A published system."""

    name: str  # of its folder
    paper: str  # title, where and when it appeared, arXiv number
    what: str  # it is, in one line
    recipes: Mapping[str, Callable[..., Run]] = field(default_factory=dict)  # for `bitmosaic train`, by name

    @property
    def claim(self) -> Claim:
        """What the paper says, as an experiment. ValueError where there is none yet."""
        if not self.claims:
            raise ValueError(f"{self.name}: it has no claim.py, so nothing can be repeated; 'bitmosaic list systems' says which have one")
        return import_module(f"bitmosaic.systems.{self.name}.claim").CLAIM

    @property
    def claims(self) -> bool:
        """Whether it has a claim."""
        return (self.folder / "claim.py").is_file()

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(str(resources.files(f"bitmosaic.systems.{self.name}")))

    @property
    def card(self) -> str:
        """What its page says besides the figures, as Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")

    @property
    def state(self) -> str:
        """Whether its claim held when it was last repeated for its page."""
        path = self.folder / "measured.json"
        if not path.exists():
            return "claim not repeated yet" if self.claims else "no claim yet"
        measured = read_json(path)
        return f"{WORDS[measured['holds']]}, {measured['seeds']} seed{'s'[: measured['seeds'] != 1]}"


WORDS = {True: "claim holds", False: "claim does not hold here", None: "not decided by what was measured"}


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and in words why."""

    holds: bool | None  # None: what has been measured does not tell
    why: str


@dataclass(frozen=True)
class Task:
    """One trial with one seed."""

    trial: str
    seed: int
    folder: Path  # of the whole experiment; what trials share is made here once, under `lock`
    scale: float = 1.0  # of training and samples, over those of the page
    data: str = ""  # folder of the data set; empty: where it usually is

    @property
    def own(self) -> Path:
        """A folder for this task alone."""
        return self.folder / "runs" / f"{self.trial.replace(' ', '-')}-{self.seed}"

    def some(self, count: int, least: int = 1) -> int:
        """`count` steps, images or samples at this scale, at least `least`."""
        return max(least, round(count * self.scale))

    def lock(self, name: str) -> FileLock:
        """Held by one process at a time: whoever needs what trials share makes it, the others wait."""
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "locks" / name)


class Claim(abc.ABC):
    """A paper's claim, as trials that are trained and measured by themselves, and a verdict on all of them."""

    said: str  # what the paper says, with its figures and where they stand
    tested: str  # what is trained and measured here, the baseline, and when the claim counts as repeated
    trials: tuple[str, ...]  # by name, those that the verdict needs most first
    decisive: tuple[str, ...] = ()  # those of the trials that the verdict needs; empty: all
    seeds: int = 3  # of each trial

    @abc.abstractmethod
    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Trains and measures a trial on one core, and yields figures as they are there; `known` are those kept of a run that was stopped.

        The same call again goes on where it was. Figures are plain values, such as JSON holds.
        """

    def floors(self, task: Task) -> dict[str, float]:
        """Figures that no system of this kind goes below (or above), such as those of real images; measured once."""
        return {}

    def decide(self, results: Results) -> Verdict:
        """The verdict by what has been measured so far; none where a decisive trial has no figures yet."""
        if not all(results[trial] for trial in self.decisive or self.trials):
            return Verdict(None, "Not all of it has been measured yet.")
        return self.verdict(results)

    @abc.abstractmethod
    def verdict(self, results: Results) -> Verdict:
        """Whether the claim holds, where every decisive trial has figures of a seed or more."""

    @abc.abstractmethod
    def sections(self, results: Results, out: Path) -> list[str]:
        """Tables of the page, as Markdown; pictures go into `out`."""
