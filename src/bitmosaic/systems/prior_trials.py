"""Shared by claims about priors: the codes of one tokenizer for each experiment, and for each trial a prior, sampled in several ways.

`index_run` is a small VQGAN of Fashion-MNIST (Esser et al., arXiv 2012.09841) with SimVQ's codebook (Zhu et al., 2411.02038).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.images import ArrayImages
from bitmosaic.images.specs import FashionMNISTSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.quantizers import SimVQSpec
from bitmosaic.samplers import LlamaGenSamplerSpec, SamplerSpec
from bitmosaic.systems.base import Claim, Results, Task
from bitmosaic.systems.judge import TEST, Judge, judge_of
from bitmosaic.systems.page import spread, table
from bitmosaic.systems.pictures import keep_row, picture_of
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.claim import claim
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, FeaturesStage, Job, PriorStage, TokenizerStage, TrainedFeatures, play_all
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.train import check_fits
from bitmosaic.train.training import Training

FEATURE_STEPS, TOKENIZER_STEPS, PRIOR_STEPS, BATCH = 250, 300, 400, 64
IMAGES, SAMPLES, CODEWORDS = 12_000, 600, 256
SIZES = {"grid": (7, 7), "codewords": CODEWORDS, "heads": 4, "width": 128, "condition": ClassConditionSpec(10)}  # of all priors


def setting(steps: int = PRIOR_STEPS, codes: str = f"7 x 7 indices of {CODEWORDS} codewords (SimVQ)", tokenizer: str = "a VQGAN") -> str:
    """The setting that all such claims share, in words; codes, tokenizer: what the priors are over, and what makes them."""
    return (
        f"Fashion-MNIST as {codes}, by {tokenizer} of {TOKENIZER_STEPS:,} steps that all trials share; "
        f"priors, of width {SIZES['width']} unless it says otherwise, learn from {IMAGES:,} images in {steps:,} steps of {BATCH}. "
        f"{SAMPLES:,} samples of each way to ask, in all classes, against the {TEST:,} test images, in the space of the classifier that "
        "ships: Frechet distances of that space, not FID."
    )


def trained(task: Task, base: Run, run: Run, folder: str, count: int) -> Pipeline:
    """The pipeline of a task's run, trained on the first `count` images, or loaded where it is trained already.

    base: a run that is the same in all tasks; all its stages but the last are played once, in the experiment's sub-folder `folder`.
    """
    images, shared = base.data.build(), task.folder / folder
    images = ArrayImages(images.pixels[:count], images.labels[:count], images.class_names)
    check_fits(base, images, shared)
    with task.lock(folder):
        claim(shared, base, images)
        made = play_all(base.stages[:-1], Job(base, shared, images))
    claim(task.own, run, images)
    return play_all(run.stages[-1:], Job(run, task.own, images, made=made))["pipeline"]


def samplings(
    task: Task, known: Mapping[str, Any], pipe: Pipeline, judge: Judge, ways: Mapping[str, SamplerSpec]
) -> Iterator[dict[str, Any]]:
    """Samples with each sampler that has no figures in `known` yet, and yields {"samplings": figures by sampler so far} after each."""
    pipe.prior.to(torch.bfloat16 if resolve("auto", pipe.device) == "bf16" else torch.float32)
    found = dict(known.get("samplings", {}))
    asked = {name: sampler for name, sampler in ways.items() if name not in found}
    for name, sampler in tqdm(asked.items(), desc=f"{task.trial}, seed {task.seed}", unit="way", dynamic_ncols=True, disable=None):
        found[name] = judge.sampling(pipe, sampler, task.seed)
        yield {"samplings": dict(found)}


def index_run(task: Task) -> Run:
    """A VQGAN, its codes, and a prior, which each trial replaces by its own."""
    steps = {name: task.some(count, 2) for name, count in
             (("features", FEATURE_STEPS), ("tokenizer", TOKENIZER_STEPS), ("prior", PRIOR_STEPS))}  # fmt: skip
    common = {"decay": "cosine", "precision": "auto", "pictures_every": 10**6}
    features = TrainedFeatures(
        ConvClassifierSpec(channels=1, classes=10, widths=(16, 32, 64)),
        Training(steps["features"], 128, learning_rate=2e-3, warmup_steps=task.some(25), weight_decay=1e-2, ema_decay=0.95, **common),
    )
    tokenizer = VQGANSpec((28, 28), 1, SimVQSpec(CODEWORDS, 16), 16, (1, 2, 2), 1, (), 64, 8)
    return Run("index-prior", FashionMNISTSpec(task.data), (
        FeaturesStage(features),
        TokenizerStage(tokenizer, TokenizerLosses(squared_weight=4.0, perceptual_weight=0.1), Training(
            steps["tokenizer"], 32, learning_rate=1e-3, warmup_steps=task.some(30), betas=(0.5, 0.95), ema_decay=0.97, **common)),
        CodesStage(),
        PriorStage(LlamaGenSpec(depth=4, **SIZES), sampler=LlamaGenSamplerSpec(), prior_training=Training(
            steps["prior"], BATCH, learning_rate=2e-3, warmup_steps=task.some(50), weight_decay=2e-2, ema_decay=0.95, **common)),
    ))  # fmt: skip


def index_pipeline(
    task: Task, prior: PriorSpec, sampler: SamplerSpec, steps: int = PRIOR_STEPS, base: Run | None = None, folder: str = "vqgan"
) -> Pipeline:  # fmt: skip
    """The pipeline of a task's prior, trained for `steps`, over the codes of the experiment's tokenizer. Keeps a picture of each class.

    base: in place of `index_run`, the same run for all trials. folder: of the experiment, where its tokenizer is kept.
    """
    base = base or index_run(task)
    training = replace(base.prior_training, steps=task.some(steps, 2), seed=task.seed)
    run = base.changed(prior=prior, prior_training=training, sampler=sampler)
    pipe = trained(task, base, run, folder, task.some(IMAGES, 130))
    keep_row(task, pipe(list(range(10)), list(range(10)), output_type="pt"))
    return pipe


class IndexPriorClaim(Claim):
    """A claim about priors over the codes of one tokenizer: each trial is a prior, which is sampled in several ways."""

    priors: Mapping[str, PriorSpec]  # by trial
    ways: Mapping[str, Mapping[str, SamplerSpec]]  # samplers by trial and by their names in the table
    shown: Mapping[str, SamplerSpec]  # the sampler of each trial's picture
    picture: str  # name of the file with the pictures, a row for each trial
    caption: str  # of that file
    steps: int = PRIOR_STEPS
    tokenizer = "VQGAN"  # its name on the page

    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self.figures(task, known, self.pipeline(task))

    def pipeline(self, task: Task) -> Pipeline:
        """The pipeline of a trial's prior."""
        return index_pipeline(task, self.priors[task.trial], self.shown[task.trial], self.steps)

    def figures(self, task: Task, known: Mapping[str, Any], pipe: Pipeline) -> Iterator[dict[str, Any]]:
        """Figures of a prior: parameters, the distance of reconstructed training images ("reconstructed"), and `samplings`."""
        judge = index_judge(task)
        if "parameters" not in known:
            yield {"parameters": parameters_of(pipe.prior), "reconstructed": judge.reconstructions(pipe)}
        yield from samplings(task, known, pipe, judge, self.ways[task.trial])

    def floors(self, task: Task) -> dict[str, float]:
        return {"Frechet distance of as many training images": index_judge(task).floor}

    def sections(self, results: Results, out: Path) -> list[str]:
        return [ways_table(results, self.ways, self.tokenizer), *picture_of(out, self.picture, self.trials, self.caption)]


def index_judge(task: Task) -> Judge:
    """The judge that samples are measured by."""
    return judge_of(task.some(SAMPLES, 10), task.data, task.some(TEST, 100))


def of_ways(results: Sequence[Mapping[str, Any]], ways: Iterable[str], name: str = "frechet") -> dict[str, list[float]]:
    """A figure by sampler, one value for each seed; samplers without any are left out."""
    found = {way: [r["samplings"][way][name] for r in results if way in r.get("samplings", {})] for way in ways}
    return {way: values for way, values in found.items() if values}


def ways_table(results: Results, ways: Mapping[str, Iterable[str]], tokenizer: str = "VQGAN") -> str:
    """Figures of each trial by sampler, and those of the tokenizer's reconstructions, which no prior can be expected to beat."""
    rows = []
    for trial, names in ways.items():
        own = [of_ways(results[trial], names, figure) for figure in WAYS_COLUMNS.values()]
        rows += [[trial, way, *(spread(figure[way], form) for figure, form in zip(own, FORMS, strict=True))] for way in own[0]]
    kept = [r["reconstructed"] for own in results.values() for r in own]
    told = f"What the {tokenizer} keeps of training images is {spread(kept[:1], '{:.2f}')} from the test images." if kept else ""
    return "\n\n".join([table(["prior", "asked with", *WAYS_COLUMNS], rows), told])


WAYS_COLUMNS = {"Frechet distance": "frechet", "classifier score": "score", "in class": "agreement"}
FORMS = ("{:.2f}", "{:.2f}", "{:.1%}")
