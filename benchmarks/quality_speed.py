"""The map of speed and quality: every way of sampling the shipped pipeline, its Frechet distance against its time.

    python benchmarks/quality_speed.py --minutes 120

First 2,000 samples of every point (and three times 5,000 of the published law, at guidance 1.5 and 2.5), then the time of all points in
turns; then three times 5,000 of the fastest point whose distance is within 3 % of the published law's, or within the spread of its seeds:
that is what `Pipeline` should do by default. Writes docs/quality_speed.png, .md and .json.

Each batch of samples is kept in runs/quality_speed, so the same command goes on where it was stopped; a process a core draws them. When the
minutes are over the map holds what there is.

Quality: the Frechet distance to the 10,000 test images in the feature space of benchmarks/judge.safetensors, precision and recall (k = 5,
2,000 samples against 2,000 test images), and the share that the judge puts in the class asked for.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from quality_points import LAW, MORE, SAMPLES, Point, points
from quality_report import mark_front, plot, table

from bitmosaic import Pipeline
from bitmosaic.evaluate.frechet import Statistics, feature_statistics, frechet_distance
from bitmosaic.evaluate.manifold import precision_recall
from bitmosaic.folders import write_json
from bitmosaic.images import fashion_mnist, fashion_sample, in_order, to_uint8
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.nets.int8 import has_int8_products
from bitmosaic.nets.precision import has_bf16_products
from bitmosaic.pipelines import find_pipeline
from bitmosaic.spec import Spec

JUDGE = Path(__file__).resolve().parent / "judge.safetensors"
BATCH = 200  # samples kept together, twenty of each class


@dataclass(frozen=True)
class Job:
    """One batch of samples of a point."""

    point: Point
    seed: int
    start: int

    def path(self, folder: Path) -> Path:
        """Where it is kept; the name changes with the point's settings."""
        key = hashlib.sha256(json.dumps(self.point.sampler.to_json(), sort_keys=True).encode()).hexdigest()[:12]
        return folder / key / f"{self.seed}-{self.start:05d}.pt"


def jobs(chosen: list[Point], missing_in: Path) -> list[Job]:
    """What is to be drawn: what every point has first, then the rest."""
    first = [Job(p, 0, start) for p in chosen for start in range(0, min(SAMPLES, p.samples), BATCH)]
    rest = [Job(p, seed, start) for p in chosen for seed in range(p.seeds) for start in range(0, p.samples, BATCH)]
    by_path = {job.path(missing_in): job for job in first + rest}  # two points may be alike
    return [job for path, job in by_path.items() if not path.exists()]


def load(name: str, precision: str) -> Pipeline:
    """A pipeline whose prior computes in `precision`."""
    pipeline = Pipeline.from_pretrained(name)
    if precision == "int8":
        return pipeline.to(dtype=torch.int8)
    if precision == "bf16":
        pipeline.prior.to(torch.bfloat16)
    return pipeline


@torch.inference_mode()
def features(judge, images: torch.Tensor) -> torch.Tensor:
    """(n, d) in the judge's space, of uint8 images."""
    return torch.cat([judge.embed(part.float() / 255) for part in images.split(250)])


def draw(pipeline: Pipeline, judge, job: Job, folder: Path) -> None:
    """Draws a batch and keeps what the judge says of it."""
    classes = len(pipeline.class_names)
    conditions = [i % classes for i in range(BATCH)]
    pipeline.sampler = job.point.sampler
    seeds = [10**6 * (job.seed + 1) + job.start + i for i in range(BATCH)]
    images = to_uint8(pipeline(conditions, seeds, output_type="pt", batch_size=40))
    with torch.inference_mode():
        right = judge(images.float() / 255).argmax(1) == torch.tensor(conditions)
    path = job.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    torch.save({"features": features(judge, images), "right": right}, beside)
    beside.rename(path)


def draw_all(chosen: list[Point], options, folder: Path, until: float) -> None:
    """Draws what is missing of points, with a process a core; stops at `until` on the clock."""
    todo = jobs(chosen, folder)
    if not todo:
        return
    asked = [{**asdict(job), "point": {**asdict(job.point), "sampler": job.point.sampler.to_json()}} for job in todo]
    order = {"pipeline": options.pipeline, "precision": options.precision, "folder": str(folder), "until": until}
    print(f"{len(todo)} batches of {BATCH} samples, {options.workers} at once", flush=True)
    if options.workers == 1:
        return work_on({**order, "jobs": asked})
    orders, workers = [], []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for i in range(options.workers):
            orders.append(folder / f"order-{i}.json")
            write_json(orders[-1], {**order, "jobs": asked[i :: options.workers]})
            workers.append(subprocess.Popen([sys.executable, __file__, "--work-on", orders[-1]]))
        if any([worker.wait() for worker in workers]):
            raise SystemExit("a process that draws has failed; what it said stands above")
    finally:
        for worker in workers:
            worker.terminate()
        for path in orders:
            path.unlink(missing_ok=True)


def work_on(order: dict) -> None:
    """Draws what `draw_all` asks of one process."""
    pipeline, judge, folder = load(order["pipeline"], order["precision"]), load_feature_net(JUDGE), Path(order["folder"])
    for told in order["jobs"]:
        if time.time() > order["until"]:
            break
        point = Point(**{**told["point"], "sampler": Spec.from_json(told["point"]["sampler"], "sampler")})
        began = time.time()
        draw(pipeline, judge, Job(point, told["seed"], told["start"]), folder)
        print(f"{point.name}: run {told['seed']}, samples from {told['start']}, {time.time() - began:.0f} s", flush=True)


class Reference:
    """What samples are measured against."""

    def __init__(self, judge):
        test, train = fashion_sample(), fashion_mnist()
        self.statistics = feature_statistics(judge, (b.images for b in in_order(test, 250)))
        self.real = features(judge, test.pixels[:SAMPLES])
        parts = {str(n): [train.pixels[i * n : (i + 1) * n] for i in range(3)] for n in (SAMPLES, MORE)}
        self.floors = {n: statistics.mean(self.distance(features(judge, part)) for part in three) for n, three in parts.items()}

    def distance(self, found: torch.Tensor) -> float:
        """The Frechet distance of features (n, d) to the test images."""
        return frechet_distance(Statistics(found.double().mean(0), found.double().T.cov(), len(found)), self.statistics)

    def figures(self, point: Point, folder: Path) -> dict | None:
        """Quality of a point by all its runs, or where not all are drawn by its first SAMPLES; None where those are not."""
        runs = [self._run(point, seed, point.samples, folder) for seed in range(point.seeds)]
        if not all(runs):
            runs = [self._run(point, 0, min(SAMPLES, point.samples), folder)]
        if not all(runs):
            return None
        distances = [self.distance(run["features"]) for run in runs]
        precision, recall = precision_recall(runs[0]["features"][: len(self.real)], self.real[: len(runs[0]["features"])])
        return {
            "frechet_2000": self.distance(runs[0]["features"][:SAMPLES]),
            "frechet_2000_of_runs": [self.distance(run["features"][:SAMPLES]) for run in runs],
            "frechet": statistics.mean(distances), "frechet_of_runs": distances, "samples": [len(run["right"]) for run in runs],
            "precision": precision, "recall": recall, "agreement": statistics.mean(float(run["right"].float().mean()) for run in runs),
        }  # fmt: skip


    @staticmethod
    def _run(point: Point, seed: int, samples: int, folder: Path) -> dict | None:
        """What the judge said of the first `samples` of a run; None where they are not all drawn."""
        paths = [Job(point, seed, start).path(folder) for start in range(0, samples, BATCH)]
        if not all(path.exists() for path in paths):
            return None
        kept = [torch.load(path) for path in paths]
        return {key: torch.cat([k[key] for k in kept]) for key in ("features", "right")}


def time_points(pipeline: Pipeline, chosen: list[Point], rounds: int, images: int = 20) -> dict[str, list[float]]:
    """Seconds an image of each point, in turns, so that a slow moment of the machine meets all alike."""
    seconds: dict[str, list[float]] = {p.name: [] for p in chosen}
    for _ in range(rounds):
        for p in chosen:
            pipeline.sampler = p.sampler
            start = time.perf_counter()
            pipeline([i % len(pipeline.class_names) for i in range(images)], range(images), output_type="pt")
            seconds[p.name].append((time.perf_counter() - start) / images)
    return seconds


def good_enough(mine: float, law: list[float]) -> bool:
    """Whether a distance is within 3 % of the law's mean, or within the spread of its seeds."""
    return mine <= max(1.03 * statistics.mean(law), *law)


@torch.inference_mode()
def noise_agreement(pipeline: Pipeline, images: int = 200) -> dict[str, float]:
    """How far two evaluations at t = T from different noise differ, in P(bit = 1): the claim under marginals first is that they agree.

    Test images, each with a random share of its places hidden, its class told.
    """
    rng, sample = torch.Generator().manual_seed(0), fashion_sample()
    digits = pipeline.encode(list(sample.pixels[:images])).flat()
    known = torch.rand(digits.shape[:2], generator=rng) < torch.rand(len(digits), 1, generator=rng)
    vectors = pipeline.prior.embed(sample.labels[: len(digits)].long(), len(digits))
    hidden = pipeline.prior.context(digits, known, vectors)[~known][None]
    a, b = (pipeline.prior.head.marginals(hidden, 1.0, torch.rand(hidden.shape[1], digits.shape[-1], generator=rng)) for _ in range(2))
    apart = (a - b).abs().flatten()
    return {"mean": float(apart.mean()), "q99": float(apart.quantile(0.99)), "most": float(apart.max())}


def choose(
    rows: list[dict], found: list[Point], pipeline: Pipeline, reference: Reference, options, folder: Path, until: float
) -> tuple[str | None, list[dict]]:
    """The fastest point that is good enough by SAMPLES and by three times MORE, and rows in place of others or beside them.

    None where the minutes do not suffice to say.
    """
    law, by_name, extra = next(row for row in rows if row["name"] == LAW), {p.name: p for p in found}, []
    if len(law["samples"]) < 3 or len(rows) < len(found):
        return None, extra
    for row in sorted(rows, key=lambda row: row["seconds"]):
        if row["name"] == LAW:
            break
        if not good_enough(row["frechet_2000"], law["frechet_2000_of_runs"]):
            continue
        point = replace(by_name[row["name"]], seeds=3, samples=MORE)
        draw_all([point], options, folder, until)
        figures = reference.figures(point, folder)
        if len(figures["samples"]) < 3:
            return None, extra
        extra.append({**row, **figures})
        if good_enough(figures["frechet"], law["frechet_of_runs"]):
            stronger = replace(point, name=f"{point.name}, guidance 2.5", sampler=replace(point.sampler, guidance_scale=2.5))
            draw_all([stronger], options, folder, until)
            quality = {stronger.name: reference.figures(stronger, folder)}
            if quality[stronger.name]:
                extra += to_rows([stronger], quality, time_points(pipeline, [stronger], options.rounds_of_timing))
            return point.name, extra
    return LAW, extra


def to_rows(drawn: list[Point], quality: dict[str, dict], seconds: dict[str, list[float]]) -> list[dict]:
    """What the table and the plot are made of."""
    return [
        {"name": p.name, "family": p.family, **quality[p.name], "seconds": statistics.median(seconds[p.name]),
         "seconds_of_runs": seconds[p.name], "sampler": p.sampler.to_json()}
        for p in drawn
    ]  # fmt: skip


def main() -> None:
    """Draws what is missing, times all points, chooses, and writes plot, table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--minutes", type=float, default=120.0, help="for all; a tenth is kept for timing and figures")
    parser.add_argument("--rounds", type=int, default=10, help="n of the published law")
    parser.add_argument("--evaluations", type=int, default=25, help="S of the published law")
    parser.add_argument("--rounds-of-timing", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bf16", "int8", "auto"], default="auto", help="of the prior")
    parser.add_argument("--only", nargs="*", default=[], help="points with one of these words in their names, beside the published law")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that draw")
    parser.add_argument("--work", type=Path, default=Path("runs/quality_speed"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--work-on", type=Path, help=argparse.SUPPRESS)  # what a process that draws is to do
    options = parser.parse_args()
    if options.work_on:
        torch.set_num_threads(1)
        return work_on(json.loads(options.work_on.read_text()))
    if options.precision == "auto":
        options.precision = "bf16" if has_bf16_products() else "int8" if has_int8_products() else "float32"
    until = time.time() + 0.9 * 60 * options.minutes
    judge = load_feature_net(JUDGE)
    files = [*sorted(find_pipeline(options.pipeline).glob("*/model.safetensors")), JUDGE]  # samples of other weights are other samples
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]
    folder = options.work / f"{digest}-{options.precision}"
    found = points(options.rounds, options.evaluations)
    found = [p for p in found if p.name == LAW or not options.only or any(word in p.name for word in options.only)]
    draw_all(found, options, folder, until)
    write(*measure(found, judge, options, folder, until), options)


def measure(found: list[Point], judge, options, folder: Path, until: float) -> tuple[list[dict], str | None, dict]:
    """A row for each point, the chosen one's name, and what else is told."""
    reference, pipeline = Reference(judge), load(options.pipeline, options.precision)
    quality = {p.name: reference.figures(p, folder) for p in found}
    drawn = [p for p in found if quality[p.name]]
    if not quality[LAW]:
        raise SystemExit("the published law's samples are not drawn yet; the same command goes on, or give it more --minutes")
    rows = to_rows(drawn, quality, time_points(pipeline, drawn, options.rounds_of_timing))
    chosen, extra = choose(rows, found, pipeline, reference, options, folder, until)
    rows = [row for row in rows if row["name"] not in {e["name"] for e in extra}] + extra
    mark_front(rows)
    return rows, chosen, {
        "precision": options.precision, "threads": torch.get_num_threads(), "torch": torch.__version__, "floors": reference.floors,
        "noise_agreement": noise_agreement(pipeline), "left_out": [p.name for p in found if not quality[p.name]],
        "rounds": options.rounds, "evaluations": options.evaluations,
    }  # fmt: skip


def write(rows: list[dict], chosen: str | None, told: dict, options) -> None:
    """docs/quality_speed.md, .json and .png."""
    note = f"{told['precision']}, {told['threads']} threads, 20 images at once; published law: n {told['rounds']}, S {told['evaluations']}"
    text = table(rows, told["floors"], chosen)
    text += (
        "\n\nTwo evaluations at t = T from different noise differ by {mean:.3f} on average in P(bit = 1), "
        "by {q99:.3f} at the 99th percentile, by {most:.2f} at most."
    ).format(**told["noise_agreement"])
    print(text)
    heading = f"# Speed and quality of the shipped pipeline\n\n{note}; guidance 1.5 unless a row says otherwise; bold: the Pareto front."
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality_speed.md").write_text(f"{heading}\n\n{text}\n")
    write_json(options.out / "quality_speed.json", {**told, "chosen": chosen, "points": rows})
    plot(rows, told["floors"], chosen, options.out / "quality_speed.png", note)


if __name__ == "__main__":
    main()
