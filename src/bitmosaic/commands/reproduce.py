"""`bitmosaic reproduce NAME`: repeats the claim of a published system at a small scale and writes a page with the paper's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from bitmosaic.evaluate.parallel import alone
from bitmosaic.names import plain
from bitmosaic.systems import system
from bitmosaic.systems.base import Task
from bitmosaic.systems.experiment import repeated
from bitmosaic.systems.page import publish, write_page
from bitmosaic.threads import processors

Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]


def reproduce(
    name: Name, *, out: Path | None = None, data: str = "", seeds: int | None = None, scale: float = 1.0, jobs: int = 0,
    trials: str = "", docs: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Repeats a paper's comparison at a small scale, and writes a page: what it claims, what was measured, whether the claim holds.

    'bitmosaic list systems' names the systems; their pages say how long each takes. The same command again resumes where it was stopped.
    The page and its figures (measured.json) are rewritten after each trial, from all results so far.

    Args:
        name: of the system, such as simvq.
        out: folder for everything; runs/reproduce/NAME unless it is given.
        data: folder with the data set; empty: its default folder.
        seeds: number of seeds of every trial; the claim's own number unless given.
        scale: factor on training steps, images and samples, at most 1; below 1 for a quick look, whose verdict means little.
        jobs: trials in parallel, each on one core, so that figures do not depend on their number; 0: one for each core.
        trials: only those whose names have these words, such as "fashion 10"; empty: all. The page shows all that are measured.
        docs: docs/systems of a checkout: the page is copied there, its figures beside the system's code.

    Returns:
        The contents of measured.json.
    """
    found = system(name)
    seeds = found.claim.seeds if seeds is None else seeds
    if seeds < 1 or not 0 < scale <= 1 or jobs < 0:
        raise ValueError(f"seeds, scale, jobs: got {seeds}, {scale:g}, {jobs}; want at least 1, more than 0 and at most 1, at least 0")
    chosen = [trial for trial in found.claim.trials if set(trials.split()) <= set(trial.split())]
    if not chosen:
        raise ValueError(f"trials: no name has the words {trials!r}; the trials are {', '.join(found.claim.trials)}")
    alone("reproduce")
    base = Task("", 0, Path("runs/reproduce") / name if out is None else out, scale, data)
    measured: dict[str, Any] = {}
    with tqdm(total=seeds * len(chosen), desc=name, unit="trial", dynamic_ncols=True, disable=None) as bar:
        for _ in repeated(name, base, seeds, jobs or processors(), chosen):
            measured = write_page(found, base, seeds)
            bar.update()
    print(plain(f"{name}: {found.outcome(measured['holds'])}. {measured['why']}"))
    print(plain(f"written: {base.folder / name}.md, {base.folder / 'measured.json'}"))
    if docs is not None:
        publish(found, base.folder, docs)
        print(plain(f"published: {docs / name}.md"))
    return measured
