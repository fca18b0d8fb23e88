"""`bitmosaic reproduce`: a paper's comparisons, trained and measured at our scale, as tables beside the paper's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from filelock import FileLock
from tqdm import tqdm

from bitmosaic.commands.files import SOFTWARE
from bitmosaic.evaluate import tables
from bitmosaic.evaluate.classes import class_agreement, classifier_score
from bitmosaic.evaluate.evaluation import CHUNK, SEEDS
from bitmosaic.evaluate.frechet import Statistics, frechet_distance
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import alone, in_chunks, processes
from bitmosaic.evaluate.probe import Vectors, linear_accuracy
from bitmosaic.evaluate.space import Features, FeatureSpace
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import ArrayImages, fashion_mnist, fashion_sample, save, to_uint8
from bitmosaic.names import plain
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline
from bitmosaic.recipes import bigr_tables
from bitmosaic.recipes.bigr_tables import AT, CURVES, TABLES, Row, Trial, prior_run, tokenizer_run, trials
from bitmosaic.samplers import SamplerSpec
from bitmosaic.threads import processors
from bitmosaic.train.claim import claim
from bitmosaic.train.code_store import CodeStore
from bitmosaic.train.fits import check_fits
from bitmosaic.train.run import Run
from bitmosaic.train.train import codes_stage, features_stage, prior_stage, tokenizer_stage

What = Annotated[Literal["bigr-tables"], tyro.conf.Positional, tyro.conf.arg(metavar="bigr-tables")]
PROBED = 4000, 5000  # images, for training and for the test
FIRST = TABLES[0].title  # the one table that shows both the distance and the probe
WORDS = {"n": "rounds n", "S": "evaluations S of the head", "guidance": "guidance scale", "temperature": "Gumbel temperature"}


@dataclass(frozen=True)
class Budget:
    """How much is trained and measured.

    Args:
        images: that are learned from, at most the 60,000 there are.
        feature_steps: of the network of the tokenizers' perceptual distance.
        tokenizer_steps: of each of four tokenizers.
        prior_steps: of each of eleven priors, for each seed.
        samples: images drawn for each figure.
        seeds: of every prior, and of what is drawn; the spread in the tables is theirs.
    """

    images: int = 60_000
    feature_steps: int = 600
    tokenizer_steps: int = 1000
    prior_steps: int = 1000
    samples: int = 600
    seeds: int = 3


BUDGET = Budget()


def reproduce(
    what: What, *, out: Path = Path("runs/bigr-tables"), data: str = "", jobs: int = 0,
    budget: tyro.conf.OmitArgPrefixes[Budget] = BUDGET,
) -> dict[str, Any]:  # fmt: skip
    """Trains and measures what BiGR's paper compares, on Fashion-MNIST, and writes our tables beside the paper's.

    Takes about three hours on two CPU cores. The same command again goes on where it was, whatever stopped it; tables.md,
    tables.json and curves.png in the folder are written anew after each prior, from all that has been measured. Needs scikit-learn:
    pip install 'bitmosaic[eval]'.

    Args:
        what: bigr-tables, the only one yet.
        out: folder for everything.
        data: folder with the IDX files; empty: $BITMOSAIC_DATA, then where Debian's dataset-fashion-mnist puts them.
        jobs: priors trained at once, each on one core, so that figures do not depend on how many; 0: as many as there are cores.
        budget: how much is trained and measured.

    Returns:
        What stands in tables.json.
    """
    if min(asdict(budget).values()) < 1 or budget.samples < CHUNK or jobs < 0:
        raise ValueError(
            f"budget: steps and seeds must be at least 1, samples at least {CHUNK}, jobs not below 0; got {asdict(budget)}, jobs {jobs}"
        )
    alone("reproduce")
    if find_spec("sklearn") is None:
        raise ValueError("probing needs scikit-learn; install it with: pip install 'bitmosaic[eval]'")
    floor = judge_of(budget.samples, data).floor
    (out / "results").mkdir(parents=True, exist_ok=True)
    settle(out / "budget.json", asdict(budget))
    # all priors once, then again: wherever this is stopped, the tables have as many seeds of each, or one more
    tasks = [(trial.name, seed) for seed in range(budget.seeds) for trial in trials()]
    found: dict[str, Any] = {}
    with tqdm(total=len(tasks), desc="priors", unit="prior", dynamic_ncols=True, disable=None) as bar:
        for _ in each(partial(one, out=out, data=data, budget=budget), tasks, jobs or workers()):
            found = written(out, budget, floor)
            bar.update()
    print(plain(f"written: {out / 'tables.md'}, {out / 'tables.json'}, {out / 'curves.png'}"))
    return found


def each(work: Callable[[Any], Any], tasks: list, jobs: int) -> Iterator[Any]:
    """What `work` returns of each task, as they end, by so many processes; one does it in this one. The first error ends it."""
    if min(jobs, len(tasks)) == 1:
        yield from map(work, tasks)
        return
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = before or "1"  # their bars would overwrite each other; tqdm reads it when they start
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
    """What `work` returns of the task, by a process of its own: after nine priors one held 3.6 GiB, where a prior takes 1.4."""
    with ProcessPoolExecutor(1, get_context("spawn")) as own:  # its max_tasks_per_child hangs in Python 3.11, once all have had theirs
        return own.submit(work, task).result()


def one(task: tuple[str, int], out: Path, data: str, budget: Budget) -> None:
    """Trains and measures one trial with one seed, on one core; what is there already is kept."""
    name, seed = task
    trial, path = next(trial for trial in trials() if trial.name == name), out / "results" / f"{name}-{seed}.json"
    if path.exists() and trial.samplers.keys() <= read_json(path)["samplings"].keys():
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two trainings on a core each do 1.25 times as many steps as one on two cores
    try:
        with locked(out, f"{name}-{seed}"):  # a process whose parent was killed may still be at it
            run, store, pipe = trained(trial, seed, out, data, budget)
            measured(trial, seed, run, store, pipe, judge_of(budget.samples, data), path)
    finally:
        torch.set_num_threads(threads)


def locked(out: Path, name: str) -> FileLock:
    """Waits until no other process does the same."""
    (out / "locks").mkdir(exist_ok=True)
    return FileLock(out / "locks" / name)


def settle(path: Path, budget: dict[str, int]) -> None:
    """Keeps the budget, or checks that it is the one that the folder was begun with; more seeds may be added."""
    if path.exists() and {**read_json(path), "seeds": 0} != {**budget, "seeds": 0}:
        raise ValueError(f"out: {path.parent} was begun with {read_json(path)}; give the same, or another folder")
    write_json(path, budget)


def trained(trial: Trial, seed: int, out: Path, data: str, budget: Budget) -> tuple[Run, CodeStore, Pipeline]:
    """The trial's pipeline, from what is there or trained now."""
    base = tokenizer_run(trial.prior.bits, budget.tokenizer_steps, budget.feature_steps, data)
    images, folder = base.images.build(), out / f"tokenizer-{trial.prior.bits}"
    images = ArrayImages(images.pixels[: budget.images], images.labels[: budget.images], images.class_names)
    check_fits(base, images, folder)
    with locked(out, folder.name):  # the first prior that needs a tokenizer trains it, others wait
        claim(folder, base, images)
        features = features_stage(base, folder, images, tqdm.write, "cpu")
        tokenizer = tokenizer_stage(base, folder, images, features, tqdm.write, "cpu")
        store = codes_stage(base, folder, images, tokenizer, tqdm.write)
    run = prior_run(base, trial, budget.prior_steps, seed)
    place = out / "priors" / f"{trial.name}-{seed}"
    claim(place, run, images)
    return run, store, prior_stage(run, place, images.class_names, tokenizer, store, tqdm.write, "cpu")


class Judge:
    """The feature space, the reference, and the floor of so many samples."""

    def __init__(self, samples: int, train: ArrayImages):
        self.space, self.samples, self.train, self.test = FeatureSpace.load("fashion"), samples, train, fashion_sample()
        with processes():
            self.reference = Statistics.of(self.features(self.test.pixels).pooled)
            self.labels = train.labels[:samples]  # the classes asked for, as often as real ones have them
            self.floor = frechet_distance(Statistics.of(self.features(train.pixels[:samples]).pooled), self.reference)

    def features(self, pixels: torch.Tensor) -> Features:
        """Of uint8 images."""
        with measuring(self.space.net):
            return Features.join(in_chunks(len(pixels), CHUNK, lambda chunk: self.space.measure(pixels[chunk])))

    def sampling(self, pipe: Pipeline, sampler: SamplerSpec, seed: int) -> dict[str, Any]:
        """Figures of images drawn so."""
        labels, start = self.labels.tolist(), time.perf_counter()
        seeds = [seed * SEEDS + i for i in range(self.samples)]

        def draw(chunk: slice) -> torch.Tensor:
            return to_uint8(pipe(labels[chunk], seeds[chunk], output_type="pt", batch_size=CHUNK, sampler=sampler))

        with measuring(pipe.prior), measuring(pipe.tokenizer):
            made = torch.cat(in_chunks(self.samples, CHUNK, draw))
        seconds = (time.perf_counter() - start) / self.samples
        features = self.features(made)
        return {
            "frechet": frechet_distance(Statistics.of(features.pooled), self.reference), "score": classifier_score(features.logits),
            "agreement": class_agreement(features.logits, self.labels), "seconds": seconds, "sampler": sampler.to_json(),
        }  # fmt: skip


@lru_cache(maxsize=1)
def judge_of(samples: int, data: str) -> Judge:
    """One for each process."""
    return Judge(samples, fashion_mnist(data or None))


def workers() -> int:
    """One for each core."""
    return processors()


def measured(trial: Trial, seed: int, run: Run, store: CodeStore, pipe: Pipeline, judge: Judge, path: Path) -> None:
    """Writes a trial's figures, each as soon as it is there."""
    found = read_json(path) if path.exists() else {"samplings": {}}
    if "probe" not in found:
        found |= {"parameters": sum(p.numel() for p in pipe.prior.parameters()), "probe": probed(pipe, judge), "run": run.prior.to_json()}
        write_json(path, found)
    pipe.prior.to(torch.bfloat16 if resolve("auto", pipe.device) == "bf16" else torch.float32)
    asked = {name: sampler for name, sampler in trial.samplers.items() if name not in found["samplings"]}
    with processes():
        for name, sampler in tqdm(asked.items(), desc=f"{trial.name}, seed {seed}", unit="way", dynamic_ncols=True, disable=None):
            found["samplings"][name] = judge.sampling(pipe, sampler, seed)
            write_json(path, found)


@torch.no_grad()
def probed(pipe: Pipeline, judge: Judge) -> float:
    """Accuracy of a linear classifier on the middle block's features of all places."""
    def vectors(images: ArrayImages, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [pipe.features(part.float() / 255, pool=False).flatten(1).half() for part in images.pixels[:count].split(250)]
        return torch.cat(rows), images.labels[:count]

    (train, train_labels), (test, test_labels) = vectors(judge.train, PROBED[0]), vectors(judge.test, PROBED[1])
    return linear_accuracy(Vectors(train, test, train_labels, test_labels))


def written(out: Path, budget: Budget, floor: float) -> dict[str, Any]:
    """tables.json, tables.md and curves.png, from all results that are there."""
    results = {path.stem: read_json(path) for path in sorted((out / "results").glob("*.json"))}
    runs: dict[str, list[dict]] = {}
    for name, result in results.items():
        runs.setdefault(name.rpartition("-")[0], []).append(result)

    def row(row: Row) -> dict[str, Any]:
        own = runs.get(row.trial, [])
        there = [r["samplings"][row.sampler] for r in own if row.sampler in r["samplings"]]
        figures = {name: [s[name] for s in there] for name in ("frechet", "score", "agreement", "seconds")}
        parameters = own[0]["parameters"] if own else None
        return {"text": row.text, "paper": row.paper, "parameters": parameters, **figures, "probe": [r["probe"] for r in own]}

    parts = {table.title: [row(r) for r in table.rows] for table in TABLES}
    points = {name: curve(runs.get("S3", []), name) for name in CURVES}
    found = {
        "software": SOFTWARE, "budget": asdict(budget), "floor": floor, "samples": budget.samples, "torch": torch.__version__,
        "precision": resolve("auto", "cpu"), "tables": parts, "curves": {k: {f"{x:g}": y for x, y in v.items()} for k, v in points.items()},
    }  # fmt: skip
    write_json(out / "tables.json", found)
    text = page(parts, found, {table.title: table for table in TABLES})
    beside = out / "tables.md.new"
    beside.write_text(text, encoding="utf-8")
    beside.replace(out / "tables.md")
    if all(any(p.values()) for p in points.values()):
        save(tables.curves(points, AT, WORDS), out / "curves.png", Software=SOFTWARE)
    return found


def curve(runs: list[dict], name: str) -> dict[float, list[float]]:
    """Distances by a setting's value, one for each seed."""
    ways: dict[float, Callable] = {value: f"{name} {value:g}" if value != AT[name] else "law" for value in CURVES[name]}
    return {value: [r["samplings"][way]["frechet"] for r in runs if way in r["samplings"]] for value, way in ways.items()}


def page(parts: dict[str, list[dict]], found: dict[str, Any], about: dict[str, Any]) -> str:
    """The tables as a page."""
    budget, law = found["budget"], bigr_tables.LAW
    lines = [
        "# BiGR's comparisons at our scale", "",
        "Made by `bitmosaic reproduce bigr-tables`. Fashion-MNIST, 7 x 7 places; priors of four blocks of 128, "
        f"{budget['prior_steps']:,} steps of 64 each, all alike but for what a table compares; tokenizers of "
        f"{budget['tokenizer_steps']:,} steps. {budget['samples']:,} samples against the 10,000 test images, in the space of the "
        "classifier that ships: Frechet distances of that space, not FID. Floor, as many training images instead: "
        f"{found['floor']:.2f}. Mean and range over the seeds. Unless a row says otherwise: the published law, {law.steps} rounds, "
        f"{law.evaluations} evaluations, guidance {law.guidance_scale:g}, temperature {law.temperature:g}. The probe is a linear "
        f"classifier on the middle block's features of all places, {PROBED[0]:,} training and {PROBED[1]:,} test images. The paper's "
        "figures are for ImageNet at 256 pixels (arXiv 2410.14672): what can be compared is the order.",
    ]  # fmt: skip
    for title, rows in parts.items():
        note = [about[title].note] if about[title].note else []
        columns = ["probe"] if about[title].ranked == "probe" else [name for name in tables.COLUMNS if name != "probe" or title == FIRST]
        lines += ["", f"## {title}", "", tables.markdown(rows, columns), "", tables.verdict(rows, about[title].ranked), *note]
    return "\n".join([*lines, "", "## Settings of the sampler", "", "![curves](curves.png)", ""])
