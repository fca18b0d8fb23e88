"""The claim of BiGR (arXiv 2410.14672, Tables 1 to 3): binary codes filled in by a masked transformer draw and represent best.

We differ in data (Fashion-MNIST for ImageNet) and sizes; `trials` says what else. Every comparison of the paper is repeated, each on a
tokenizer that the trials of its number of bits share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bitmosaic.evaluate.probe import Vectors, linear_accuracy
from bitmosaic.images import ArrayImages, save
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.pipelines import Pipeline
from bitmosaic.systems.base import Claim, Results, Task, Verdict
from bitmosaic.systems.bigr import tables
from bitmosaic.systems.bigr.trials import AT, CURVES, LAW, STEPS, SWEEP, TABLES, Row, prior_run, tokenizer_run, trials
from bitmosaic.systems.judge import Judge, judge_of
from bitmosaic.systems.prior_trials import samplings, trained

IMAGES, FEATURE_STEPS, TOKENIZER_STEPS, SAMPLES = 60_000, 600, 1000, 600
PROBED = 4000, 5000  # training and test images of the linear probe
OBJECTIVE = TABLES[0]  # the table that decides the claim, and the only one with both the distance and the probe
WORDS = {"n": "rounds n", "S": "evaluations S of the head", "guidance": "guidance scale", "temperature": "Gumbel temperature"}


class BiGRClaim(Claim):
    """The paper's tables, row by row."""

    said = (
        "On ImageNet at 256 pixels binary codes with a masked transformer (S3) have both the lowest FID, 3.17, and the best linear probe, "
        "64.3 %, of four objectives: categorical or binary, autoregressive or masked (FID 3.21, 3.85, 7.50; probe 23.8, 61.1, 45.2 %)."
    )
    tested = (
        f"Fashion-MNIST, 7 x 7 places; priors of four blocks of 128, {STEPS:,} steps of 64 each, all alike but for what a table "
        f"compares; tokenizers of {TOKENIZER_STEPS:,} steps. {SAMPLES:,} samples against the 10,000 test images, in the space of the "
        "classifier that ships: Frechet distances of that space, not FID. Mean and range over the seeds. Unless a row says otherwise: the "
        f"published law, {LAW.steps} rounds, {LAW.evaluations} evaluations, guidance {LAW.guidance_scale:g}, temperature "
        f"{LAW.temperature:g}. The probe is a linear classifier on the middle block's features of all places, {PROBED[0]:,} training and "
        f"{PROBED[1]:,} test images. The claim counts as repeated where S3 has the lowest distance and the best probe of the four with "
        "every seed."
    )
    trials = tuple(trial.name for trial in trials())
    decisive = tuple(row.trial for row in OBJECTIVE.rows)

    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        trial = next(trial for trial in trials() if trial.name == task.trial)
        base = tokenizer_run(trial.prior.bits, task.some(TOKENIZER_STEPS, 2), task.some(FEATURE_STEPS), task.data)
        run = prior_run(base, trial, task.some(trial.steps, 2), task.seed)
        pipe = trained(task, base, run, f"tokenizer-{trial.prior.bits}", task.some(IMAGES, 130))
        judge = judge_of(task.some(SAMPLES, 50), task.data)
        if "probe" not in known:
            parameters = parameters_of(pipe.prior)
            found = {"parameters": parameters, "probe": probed(pipe, judge, task), "run": run.prior.to_json()}
            yield {**found, "reconstructed": judge.reconstructions(pipe)}
        yield from samplings(task, known, pipe, judge, trial.samplers)

    def floors(self, task: Task) -> dict[str, float]:
        return {"Frechet distance of as many training images": judge_of(task.some(SAMPLES, 50), task.data).floor}

    def verdict(self, results: Results) -> Verdict:
        rows = {row.trial: measured_row(row, results) for row in OBJECTIVE.rows}
        ours, others = rows.pop("S3"), rows.values()
        best = {
            "frechet": all(max(ours["frechet"]) < min(row["frechet"]) for row in others),
            "probe": all(min(ours["probe"]) > max(row["probe"]) for row in others),
        }
        words = [f"{'S3 has' if best['frechet'] else 'S3 does not have'} the lowest distance of the four with every seed."]
        words += [f"{'It has' if best['probe'] else 'It does not have'} the best probe with every seed."]
        return Verdict(all(best.values()), " ".join(words))

    def sections(self, results: Results, out: Path) -> list[str]:
        parts = []
        for wanted in TABLES:
            rows = [measured_row(row, results) for row in wanted.rows if results.get(row.trial)]
            if len(rows) < 2:  # not measured yet
                continue
            columns = [name for name in tables.COLUMNS if name != "probe" or wanted is OBJECTIVE]
            swept = all(row["guided"] for row in rows)  # of some rows alone it would mislead
            columns = [name for name in columns if swept or name not in ("guided", "best")]
            columns = ["probe"] if wanted.ranked == "probe" else columns
            note = [wanted.note] if wanted.note else []
            lines = [f"## {wanted.title}", "", tables.markdown(rows, columns), "", tables.verdict(rows, wanted.ranked), *note]
            parts.append("\n".join(lines))
        points = {name: curve(results.get("S3", []), name) for name in CURVES}
        if all(any(values.values()) for values in points.values()):
            save(tables.curves(points, AT, WORDS), out / "bigr.png")
            told = "*S3, mean and range over the seeds; the dotted line is the setting of the tables above.*"
            curves = "![Frechet distance by rounds, evaluations of the head, guidance and temperature](bigr.png)"
            parts.append("\n\n".join(["## Settings of the sampler", curves, told]))
        return parts


CLAIM = BiGRClaim()


@torch.no_grad()
def probed(pipe: Pipeline, judge: Judge, task: Task) -> float:
    """Accuracy of a linear classifier on the middle block's features of all places."""

    def vectors(images: ArrayImages, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [pipe.features(part.float() / 255, pool=False).flatten(1).half() for part in images.pixels[:count].split(250)]
        return torch.cat(rows), images.labels[:count]

    train, test = (vectors(images, task.some(n, 150)) for images, n in zip((judge.train, judge.test), PROBED, strict=True))
    return linear_accuracy(Vectors(train[0], test[0], train[1], test[1]))


def measured_row(row: Row, results: Results) -> dict[str, Any]:
    """A row of a table, with one figure for each seed."""
    own = results.get(row.trial, [])
    there = [r["samplings"][row.sampler] for r in own if row.sampler in r.get("samplings", {})]
    figures = {name: [s[name] for s in there if name in s] for name in ("frechet", "score", "agreement", "seconds")}
    figures |= {"probe": [r["probe"] for r in own], "reconstructed": [r["reconstructed"] for r in own if "reconstructed" in r]}
    swept = [r["samplings"] for r in own if all(way in r["samplings"] for way in SWEEP)] if row.sampler == "law" else []
    figures |= {"guided": [min(s[way]["frechet"] for way in SWEEP) for s in swept]}
    figures |= {"best": [min((s[way]["frechet"], scale) for way, scale in SWEEP.items())[1] for s in swept]}
    return {"text": row.text, "paper": row.paper, "parameters": own[0]["parameters"] if own else None, **figures}


def curve(runs, name: str) -> dict[float, list[float]]:
    """Distances of S3 by a setting's value, one for each seed."""
    ways = {value: f"{name} {value:g}" if value != AT[name] else "law" for value in CURVES[name]}
    return {value: [r["samplings"][way]["frechet"] for r in runs if way in r["samplings"]] for value, way in ways.items()}
