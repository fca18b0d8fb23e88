"""The map of speed and quality: every way of sampling the shipped pipeline, its Frechet distance against its time.

    python benchmarks/quality_speed.py --minutes 120

Draws what is missing in runs/quality_speed (each batch of a point is kept, so it can be stopped at any time), times all points turn by
turn, and writes docs/quality_speed.png, .md and .json. Points come in the order of their importance; when the minutes are over the map
holds what there is, and says how many samples each figure stands on.

Quality: the Frechet distance to the 10,000 test images in the feature space of benchmarks/judge.safetensors, precision and recall (k = 5,
2,000 samples against 2,000 test images), and the share that the judge puts in the class asked for.
"""

import argparse
import hashlib
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bitmosaic import Pipeline
from bitmosaic.evaluate.frechet import Statistics, feature_statistics, frechet_distance
from bitmosaic.evaluate.manifold import precision_recall
from bitmosaic.folders import write_json
from bitmosaic.images import fashion_mnist, fashion_sample, in_order, to_uint8
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.nets.int8 import has_int8_products
from bitmosaic.nets.precision import has_bf16_products
from bitmosaic.pipeline import find_pipeline
from bitmosaic.samplers import EntropyBudgetSpec, EntropyOrderedSpec, MarginalsFirstSpec, SamplerSpec

HERE = Path(__file__).resolve().parent
BATCH = 200  # samples kept together, twenty of each class


@dataclass(frozen=True)
class Point:
    """One way of sampling."""

    name: str
    sampler: SamplerSpec
    seeds: int = 1  # runs with seeds of their own
    samples: int = 2000  # of each run
    family: str = "published law"


def points(rounds: int, evaluations: int) -> list[Point]:
    """What is measured; `rounds` and `evaluations` are the published law's."""
    base = {"temperature": 0.02, "steps": rounds, "evaluations": evaluations}
    law = EntropyOrderedSpec(**base, guidance_scale=1.5)
    short = MarginalsFirstSpec(**base, guidance_scale=1.5, shortlist=2.0)
    found = [
        Point("published", law, seeds=3, samples=5000),
        Point("published, guidance 2.5", replace(law, guidance_scale=2.5), seeds=3, samples=5000),
        Point("exact jumps", replace(law, procedure="posterior"), family="exact jumps"),
        Point("transitions", replace(law, procedure="transitions"), family="transitions (A2)"),
        Point("marginals first", replace(short, shortlist=1.0), family="marginals first (A1)"),
        Point("shortlist 2", short, family="shortlist (A1b)"),
        Point("shortlist 3", replace(short, shortlist=3.0), family="shortlist (A1b)"),
        Point("shortlist 4", replace(short, shortlist=4.0), family="shortlist (A1b)"),
    ]
    for s in (5, 10):
        found.append(Point(f"published, S {s}", replace(law, evaluations=s), family="published law"))
        found.append(Point(f"exact jumps, S {s}", replace(law, procedure="posterior", evaluations=s), family="exact jumps"))
        found.append(Point(f"transitions, S {s}", replace(law, procedure="transitions", evaluations=s), family="transitions (A2)"))
        found.append(Point(f"shortlist 2, S {s}", replace(short, evaluations=s), family="shortlist (A1b)"))
        found.append(Point(f"shortlist 3, S {s}", replace(short, shortlist=3.0, evaluations=s), family="shortlist (A1b)"))
        combined = replace(short, shortlist=2.0, procedure="posterior", evaluations=s)
        found.append(Point(f"shortlist 2, exact jumps, S {s}", combined, family="shortlist, exact jumps"))
        combined = replace(short, shortlist=3.0, procedure="transitions", evaluations=s)
        found.append(Point(f"shortlist 3, transitions, S {s}", combined, family="shortlist, transitions"))
    for n in (6, 8, 20):
        found.append(Point(f"published, n {n}", replace(law, steps=n), family="published law"))
        found.append(Point(f"shortlist 2, n {n}, S 10", replace(short, steps=n, evaluations=10), family="shortlist (A1b)"))
    for bits in (10.0, 30.0, 60.0):
        budget = EntropyBudgetSpec(**{**base, "steps": 30, "evaluations": 10}, guidance_scale=1.5, shortlist=2.0, budget=bits)
        found.append(Point(f"entropy budget {bits:g}, shortlist 2, S 10", budget, family="entropy budget (A4)"))
    rising = replace(short, evaluations=10, guidance_schedule="power-cosine", guidance_scale=2.5)
    found.append(Point("shortlist 2, S 10, rising guidance 2.5", rising, family="guidance schedules (A6)"))
    found.append(Point("published, rising guidance 2.5", replace(law, guidance_schedule="power-cosine", guidance_scale=2.5),
                       family="guidance schedules (A6)"))  # fmt: skip
    found.append(Point("shortlist 2, S 10, a quarter unguided", replace(short, evaluations=10, unguided=0.25),
                       family="guidance schedules (A6)"))  # fmt: skip
    return found


class Map:
    """What has been drawn and timed so far, in a folder."""

    def __init__(self, pipeline: Pipeline, judge, folder: Path):
        self.pipeline, self.judge, self.folder = pipeline, judge, folder
        folder.mkdir(parents=True, exist_ok=True)
        test, train = fashion_sample(), fashion_mnist()
        self.reference = feature_statistics(judge, (b.images for b in in_order(test, 250)))
        self.real = self.features(test.pixels[:2000])
        self.floors = {n: frechet_distance(feature_statistics(judge, train.pixels[:n].split(250)), self.reference) for n in (2000, 5000)}

    @torch.inference_mode()
    def features(self, images) -> torch.Tensor:
        """(n, d) in the judge's space, of uint8 images."""
        return torch.cat([self.judge.embed(part.float() / 255) for part in images.split(250)])

    def path(self, point: Point, seed: int, start: int) -> Path:
        """Where a batch is kept; its name changes with the settings."""
        key = hashlib.sha256(json.dumps(point.sampler.to_json(), sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / key / f"{seed}-{start:05d}.pt"

    def draw(self, point: Point, seed: int, start: int) -> None:
        """Batch `start` of a run, unless it is there."""
        path = self.path(point, seed, start)
        if path.exists():
            return
        classes = len(self.pipeline.class_names)
        conditions = [i % classes for i in range(BATCH)]
        self.pipeline.sampler = point.sampler
        images = self.pipeline(conditions, [10**6 * (seed + 1) + start + i for i in range(BATCH)], output_type="pt", batch_size=100)
        images = to_uint8(images)
        with torch.inference_mode():
            right = self.judge(images.float() / 255).argmax(1) == torch.tensor(conditions)
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".new")
        torch.save({"features": self.features(images), "right": right}, beside)
        beside.rename(path)

    def figures(self, point: Point) -> dict | None:
        """Quality of a point from whatever has been drawn of it; None where that is not one full run."""
        runs = []
        for seed in range(point.seeds):
            batches = [self.path(point, seed, start) for start in range(0, point.samples, BATCH)]
            kept = [torch.load(path) for path in batches if path.exists()]
            if len(kept) * BATCH >= min(2000, point.samples):
                runs.append((torch.cat([k["features"] for k in kept]), torch.cat([k["right"] for k in kept])))
        if not runs:
            return None
        distances = [frechet_distance(of_features(features), self.reference) for features, _ in runs]
        precision, recall = precision_recall(runs[0][0][: len(self.real)], self.real[: len(runs[0][0])])
        agreement = [float(right.float().mean()) for _, right in runs]
        return {
            "frechet_2000": frechet_distance(of_features(runs[0][0][:2000]), self.reference),  # of as many as every other point has
            "frechet": statistics.mean(distances), "frechet_of_runs": distances, "samples": [len(f) for f, _ in runs],
            "precision": precision, "recall": recall, "agreement": statistics.mean(agreement),
        }  # fmt: skip


def weights(pipeline: str) -> str:
    """Twelve digits that change when a weight does, so that samples of another model are never taken for this one's."""
    files = sorted(find_pipeline(pipeline).glob("*/model.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()[:12]


def of_features(features: torch.Tensor) -> Statistics:
    """Statistics of features that are at hand."""
    return Statistics(features.double().mean(0), features.double().T.cov(), len(features))


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


def table(rows: list[dict], floors: dict[int, float]) -> str:
    """Markdown."""
    lines = ["| sampling | Frechet distance of 2,000 | of all | samples | precision | recall | in its class | s an image | times as fast |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    law = next((row for row in rows if row["name"] == "published"), rows[0])
    for row in rows:
        runs = row["frechet_of_runs"]
        spread = f" ({min(runs):.2f} to {max(runs):.2f})" if len(runs) > 1 else ""
        mark = "**" if row["front"] else ""
        cells = [
            f"{mark}{row['name']}{mark}", f"{row['frechet_2000']:.2f}", f"{row['frechet']:.2f}{spread}",
            " + ".join(map(str, row["samples"])), f"{row['precision']:.3f}",
            f"{row['recall']:.3f}", f"{100 * row['agreement']:.1f} %", f"{row['seconds']:.3f}", f"{law['seconds'] / row['seconds']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    for count, distance in floors.items():
        lines.append(f"| *{count} training images instead (floor)* | {distance:.2f} | | {count} | | | | | |")
    return "\n".join(lines)


def plot(rows: list[dict], floors: dict[int, float], path: Path, note: str) -> None:
    """Quality against time, the Pareto front drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((9.5, 6.2), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    families = list(dict.fromkeys(row["family"] for row in rows))
    marks = "osD^vP*Xh<>p"
    for i, family in enumerate(families):
        mine = [row for row in rows if row["family"] == family]
        axis.scatter([r["seconds"] for r in mine], [r["frechet_2000"] for r in mine], s=46, marker=marks[i % len(marks)], label=family,
                     color=f"C{i % 10}", zorder=3)  # fmt: skip
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["seconds"])
    at = {row["name"]: (row["seconds"], row["frechet_2000"]) for row in rows}
    axis.plot(*zip(*(at[r["name"]] for r in front), strict=True), color="#404040", linewidth=1.2, zorder=2, label="Pareto front")
    for row in front:
        axis.annotate(row["name"], at[row["name"]], textcoords="offset points", xytext=(6, 6), fontsize=8, color="#303030")
    law = next((row for row in rows if row["name"] == "published"), rows[0])
    axis.annotate(law["name"], at[law["name"]], textcoords="offset points", xytext=(-8, -14), fontsize=8, ha="right")
    axis.axhline(floors[2000], color="#808080", linewidth=1, linestyle=":")
    axis.text(0.995, floors[2000], "2,000 real training images", fontsize=8, color="#606060", ha="right", va="bottom",
              transform=axis.get_yaxis_transform())  # fmt: skip
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("seconds an image")
    axis.set_ylabel("Frechet distance to the test images (lower is better)")
    axis.set_title(f"Speed and quality of the shipped pipeline\n{note}", loc="left", fontsize=10)
    axis.grid(color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path)


def mark_front(rows: list[dict]) -> None:
    """Sets "front" where no row is both faster and better."""
    for row in rows:
        row["front"] = not any(o["seconds"] <= row["seconds"] and o["frechet_2000"] < row["frechet_2000"] for o in rows if o is not row)


def main() -> None:
    """Draws what is missing, times all points, and writes plot, table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--minutes", type=float, default=120.0, help="for drawing; what is missing after that is left out")
    parser.add_argument("--rounds", type=int, default=10, help="n of the published law")
    parser.add_argument("--evaluations", type=int, default=25, help="S of the published law")
    parser.add_argument("--rounds-of-timing", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bf16", "int8", "auto"], default="float32", help="of the prior")
    parser.add_argument("--only", nargs="*", default=[], help="draw points with one of these words in their names")
    parser.add_argument("--work", type=Path, default=Path("runs/quality_speed"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if has_bf16_products() else "int8" if has_int8_products() else "float32"
    pipeline = Pipeline.from_pretrained(options.pipeline)
    if precision == "int8":
        pipeline.to(dtype=torch.int8)
    elif precision == "bf16":
        pipeline.prior.to(torch.bfloat16)
    judge = hashlib.sha256((HERE / "judge.safetensors").read_bytes()).hexdigest()[:8]
    folder = options.work / f"{weights(options.pipeline)}-{judge}-{precision}"
    measured = Map(pipeline, load_feature_net(HERE / "judge.safetensors"), folder)
    found = points(options.rounds, options.evaluations)
    end = time.monotonic() + 60 * options.minutes
    wanted = [p for p in found if not options.only or any(word in p.name for word in options.only)]
    jobs = [(p, 0, start) for p in wanted for start in range(0, min(2000, p.samples), BATCH)]  # then what the two laws have more
    jobs += [(p, seed, start) for p in wanted for seed in range(p.seeds) for start in range(0, p.samples, BATCH)]
    for p, seed, start in jobs:
        if time.monotonic() > end:
            break
        if not measured.path(p, seed, start).exists():
            print(f"{p.name}: run {seed}, samples from {start}", flush=True)
            measured.draw(p, seed, start)
    quality = {p.name: measured.figures(p) for p in found}
    chosen = [p for p in found if quality[p.name]]
    seconds = time_points(pipeline, chosen, options.rounds_of_timing)
    rows = [
        {"name": p.name, "family": p.family, **quality[p.name], "seconds": statistics.median(seconds[p.name]),
         "seconds_of_runs": seconds[p.name], "sampler": p.sampler.to_json()}
        for p in chosen
    ]  # fmt: skip
    mark_front(rows)
    threads = torch.get_num_threads()
    note = f"{precision}, {threads} threads, published law: n {options.rounds}, S {options.evaluations}"
    agreement = noise_agreement(pipeline)
    text = table(rows, measured.floors)
    text += "\n\nTwo evaluations at t = T from different noise differ by {mean:.3f} on average in P(bit = 1), ".format(**agreement)
    text += "by {q99:.3f} at the 99th percentile, by {most:.2f} at most.".format(**agreement)
    print(text)
    heading = f"# Speed and quality of the shipped pipeline\n\n{note}; bold: the Pareto front.\n\n"
    (options.out / "quality_speed.md").write_text(f"{heading}{text}\n")
    write_json(options.out / "quality_speed.json", {
        "precision": precision, "threads": threads, "torch": torch.__version__, "floors": measured.floors, "points": rows,
        "noise_agreement": agreement,
        "left_out": [p.name for p in found if not quality[p.name]],
    })  # fmt: skip
    plot(rows, measured.floors, options.out / "quality_speed.png", note)


if __name__ == "__main__":
    main()
