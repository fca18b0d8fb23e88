"""Repeats a claim: trains and measures its trials in as many processes as there are cores, and resumes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from bitmosaic import __version__
from bitmosaic.folders import read_json, write_json
from bitmosaic.nets.precision import resolve
from bitmosaic.systems import system
from bitmosaic.systems.base import Claim, Task


def repeated(name: str, base: Task, seeds: int, jobs: int, trials: Sequence[str] | None = None) -> Iterator[None]:
    """Trains and measures trials of a system's claim, all unless some are named, in `jobs` processes, and yields after each.

    All trials run with the first seed before any with the second, so wherever this is stopped, numbers of seeds differ by one at most.
    ValueError where the folder was begun with another system or scale.
    """
    claim, scale = system(name).claim, base.folder / "scale.json"
    trials = claim.trials if trials is None else trials
    if scale.exists() and read_json(scale) != [name, base.scale]:
        begun_name, begun_scale = read_json(scale)
        raise ValueError(
            f"out: {base.folder} was begun with {begun_name} at scale {begun_scale:g}, not {name} at {base.scale:g}; give the same system "
            "and scale, or another folder"
        )
    base.folder.mkdir(parents=True, exist_ok=True)
    write_json(scale, [name, base.scale])
    floors = base.folder / "floors.json"
    if not floors.exists():
        write_json(floors, claim.floors(base))
    tasks = [replace(base, trial=trial, seed=seed) for seed in range(seeds) for trial in trials]
    for _ in each(partial(one, name), tasks, jobs):
        yield


def one(name: str, task: Task) -> None:
    """Trains and measures one trial with one seed in one thread, so that figures do not depend on the number of processes."""
    claim, path = system(name).claim, result_path(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    with task.lock(path.stem):  # a process whose parent was killed may still be working on it
        found = read_json(path) if path.exists() else {"whole": False}
        if found["whole"]:
            return
        threads, start = torch.get_num_threads(), time.perf_counter()
        before = found.get("seconds", 0.0)
        torch.set_num_threads(1)  # two trainings on a core each do 1.25 times as many steps as one on two cores
        try:
            for more in claim.measure(task, found):
                found |= {**more, "seconds": before + time.perf_counter() - start}
                write_json(path, found)
            write_json(path, {**found, "whole": True, "measured_with": measured_with()})
        finally:
            torch.set_num_threads(threads)


def measured_with() -> str:
    """The versions of the software, and the precision that training chooses on this machine."""
    return f"bitmosaic {__version__}, torch {torch.__version__}, {resolve('auto', 'cpu')}"


def result_path(task: Task) -> Path:
    """The file of a task's figures."""
    return task.folder / "results" / f"{task.trial.replace(' ', '-')}-{task.seed}.json"


def results_of(claim: Claim, folder: Path, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """The complete results so far, by trial; an empty list for a trial without any."""
    paths = {trial: [result_path(Task(trial, seed, folder)) for seed in range(seeds)] for trial in claim.trials}
    found = {trial: [read_json(path) for path in own if path.exists()] for trial, own in paths.items()}
    return {trial: [result for result in own if result["whole"]] for trial, own in found.items()}


def each(work: Callable[[Any], Any], tasks: list, jobs: int) -> Iterator[Any]:
    """The values of `work` for each task, in the order in which they end. `jobs` processes; with one, in this process. The first error
    is raised and ends it.
    """
    if min(jobs, len(tasks)) == 1:
        yield from map(work, tasks)
        return
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = before or "1"  # the processes' bars would overwrite each other; tqdm reads it when they start
    with ThreadPoolExecutor(min(jobs, len(tasks))) as pool:
        futures = [pool.submit(alone_in_process, work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if before is None:
                del os.environ["TQDM_DISABLE"]


def alone_in_process(work: Callable[[Any], Any], task: Any) -> Any:
    """`work(task)` in a new process, which frees its memory: after nine priors a process held 3.6 GiB, where a prior takes 1.4."""
    with ProcessPoolExecutor(1, get_context("spawn")) as own:  # max_tasks_per_child would do, but hangs in Python 3.11
        return own.submit(work, task).result()
