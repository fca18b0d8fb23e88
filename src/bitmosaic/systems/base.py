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

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # figures by trial, one mapping for each seed


@dataclass(frozen=True)
class System:
    """The description of a published system."""

    name: str  # of its folder
    paper: str  # title, authors, venue and year, arXiv number; of a comparison of our own, what it builds on
    what: str  # what it is, in one line
    recipes: Mapping[str, Callable[..., Run]] = field(default_factory=dict)  # for `bitmosaic train`, by name
    claimed: bool = True  # whether a paper claims what claim.py measures; else that is a comparison of our own

    @property
    def claim(self) -> Claim:
        """The paper's claim as an experiment. ValueError where the system has no claim.py."""
        if not self.claims:
            raise ValueError(f"name: got {self.name!r}, which has no claim.py to repeat; 'bitmosaic list systems' shows which have one")
        return import_module(f"bitmosaic.systems.{self.name}.claim").CLAIM

    @property
    def claims(self) -> bool:
        """Whether it has a claim."""
        return (self.folder / "claim.py").is_file()

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return Path(str(resources.files(f"bitmosaic.systems.{self.name}")))

    @property
    def card(self) -> str:
        """The text of its page besides the figures, as Markdown."""
        return (self.folder / "card.md").read_text(encoding="utf-8")

    @property
    def state(self) -> str:
        """In words, whether its claim held in the measurement that its page shows, and with how many seeds."""
        path = self.folder / "measured.json"
        if not path.exists():
            return f"{'claim not repeated' if self.claimed else 'comparison not made'} yet" if self.claims else "no claim yet"
        measured = read_json(path)
        return f"{self.outcome(measured['holds'])}, {measured['seeds']} seed{'s'[: measured['seeds'] != 1]}"

    def outcome(self, holds: bool | None) -> str:
        """In words, whether its claim holds; a comparison has none."""
        return WORDS[holds] if self.claimed else "a comparison"


WORDS = {True: "claim holds", False: "claim does not hold here", None: "not decided by what was measured"}


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds, and why, in words."""

    holds: bool | None  # None: not decided by what has been measured
    why: str


@dataclass(frozen=True)
class Task:
    """One trial with one seed: what `Claim.measure` trains and measures."""

    trial: str
    seed: int
    folder: Path  # of the whole experiment; what trials share is made in it once, under `lock`
    scale: float = 1.0  # steps, images and samples as a fraction of the page's, in (0, 1]
    data: str = ""  # folder of the data set; empty: where it usually is

    @property
    def own(self) -> Path:
        """A folder for this task alone."""
        return self.folder / "runs" / f"{self.trial.replace(' ', '-')}-{self.seed}"

    def some(self, count: int, least: int = 1) -> int:
        """`count` steps, images or samples multiplied by the scale, and at least `least`."""
        return max(least, round(count * self.scale))

    def lock(self, name: str) -> FileLock:
        """A lock between processes: the first trial to need something shared makes it while the others wait."""
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "locks" / name)


class Claim(abc.ABC):
    """A paper's claim as an experiment: trials that are trained and measured independently, and a verdict on all of them."""

    said: str  # what the paper says, with its figures and where they stand
    tested: str  # what is trained and measured here, the baseline, and when the claim counts as repeated
    trials: tuple[str, ...]  # names, the most decisive first
    decisive: tuple[str, ...] = ()  # those of the trials that the verdict needs; empty: all
    seeds: int = 3  # of each trial

    @abc.abstractmethod
    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Trains and measures a trial on one core, and yields figures (JSON values) as soon as each is measured.

        known: the figures of an earlier call that was stopped; the same call again resumes.
        """

    def floors(self, task: Task) -> dict[str, float]:
        """Reference figures that bound what any system can reach, such as those of real images in place of samples; measured once."""
        return {}

    def seeds_of(self, results: Results) -> int:
        """How many seeds every trial that the verdict needs has been measured with."""
        return min(len(results[trial]) for trial in self.decisive or self.trials)

    def decide(self, results: Results) -> Verdict:
        """The verdict on what has been measured so far; undecided (None) while a decisive trial has no figures."""
        if not all(results[trial] for trial in self.decisive or self.trials):
            return Verdict(None, "Not all of it has been measured yet.")
        return self.verdict(results)

    @abc.abstractmethod
    def verdict(self, results: Results) -> Verdict:
        """Whether the claim holds; called once every decisive trial has figures of at least one seed."""

    @abc.abstractmethod
    def sections(self, results: Results, out: Path) -> list[str]:
        """The page's tables and pictures as Markdown; writes the pictures into `out`."""
