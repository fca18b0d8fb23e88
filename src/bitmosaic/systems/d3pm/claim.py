"""The claim of D3PM (arXiv 2107.03006, Tables 1 to 3): of chains that ignore the order of values, the absorbing one beats the uniform one.

We differ in data (codes of Fashion-MNIST for text and pixels), in sizes, and in the uniform chain's schedule (`UniformSpec`).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bitmosaic.evaluate.mode import measuring
from bitmosaic.images import ArrayImages
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.chain import AbsorbingSpec, UniformSpec
from bitmosaic.priors.d3pm import D3PMSpec
from bitmosaic.priors.denoising import bound_of_places
from bitmosaic.samplers import AncestralSpec
from bitmosaic.systems.base import Results, Task, Verdict
from bitmosaic.systems.page import spread, table
from bitmosaic.systems.prior_trials import SIZES, IndexPriorClaim, index_judge, of_ways, setting

TIMES = 100  # T of both chains
STEPS = 300
JUMPS = (2, 5, 20)  # steps of the sampler
WAYS = {f"{s} steps": AncestralSpec(s, guidance_scale=1.0) for s in JUMPS}
FEW, MANY = list(WAYS)[0], list(WAYS)[-1]
CHAINS = {"absorbing": AbsorbingSpec(TIMES), "uniform": UniformSpec(TIMES)}
BOUND_IMAGES = 50  # test images whose code length is bounded


class D3PMClaim(IndexPriorClaim):
    """Absorbing and uniform chains under one network: a bound on code length, and distances of samples by the number of steps."""

    said = (
        "With the same transformer and 1,000 steps absorbing transitions have 1.45 bits a character on text8 and uniform ones 1.61 (Table "
        "1), perplexity 76.9 and 137.9 on LM1B (Table 2); on CIFAR-10 FID 41.28 and 51.27, both by the bound alone (Table 3), where "
        "Gaussian ones, which know the order of pixel values, are better than either. Fewer steps are worse."
    )
    tested = (
        f"{setting(STEPS)} D3PM's network of four blocks, chains of {TIMES} times, the bound and 0.001 of the cross-entropy of clean "
        f"codes, no guidance. The bound is that of all {TIMES} times, in bits a place, of {BOUND_IMAGES} test images given their class. "
        "The claim counts as repeated where, with every seed, the absorbing chain has the lower bound and, sampled in "
        f"{MANY}, the lower distance, and where its distance in {FEW} is above that in {MANY}."
    )
    priors = {name: D3PMSpec(depth=4, multiple=64, chain=chain, auxiliary=1e-3, **SIZES) for name, chain in CHAINS.items()}
    ways = dict.fromkeys(priors, WAYS)
    shown = dict.fromkeys(priors, WAYS[MANY])
    picture = "d3pm.png"
    caption = f"a picture of each class in {MANY}: the absorbing chain above, the uniform one below"
    steps = STEPS
    trials = tuple(priors)
    seeds = 2

    def figures(self, task: Task, known: Mapping[str, Any], pipe: Pipeline) -> Iterator[dict[str, Any]]:
        if "bound" not in known:
            yield {"bound": bound(pipe, index_judge(task).test, task.some(BOUND_IMAGES, 2))}
        yield from super().figures(task, known, pipe)

    def verdict(self, results: Results) -> Verdict:
        bounds = {trial: [r["bound"] for r in own] for trial, own in results.items()}
        distances = {trial: of_ways(own, WAYS) for trial, own in results.items()}
        shorter = all(a < b for a, b in zip(bounds["absorbing"], bounds["uniform"], strict=False))
        nearer = all(a < b for a, b in zip(distances["absorbing"][MANY], distances["uniform"][MANY], strict=False))
        helps = all(a < b for a, b in zip(distances["absorbing"][MANY], distances["absorbing"][FEW], strict=True))
        told = {trial: spread(own, "{:.2f}") for trial, own in bounds.items()}
        in_many = {trial: spread(own[MANY], "{:.2f}") for trial, own in distances.items()}
        in_few = statistics.mean(distances["absorbing"][FEW])
        return Verdict(
            shorter and nearer and helps,
            f"The absorbing chain's bound is {told['absorbing']} bits a place, the uniform one's {told['uniform']}: "
            f"{'lower' if shorter else 'not lower'} with every seed. In {MANY} its distance is {in_many['absorbing']} beside "
            f"{in_many['uniform']}: {'lower' if nearer else 'not lower'} with every seed. In {FEW} it has {in_few:.2f}: "
            f"{'more steps help' if helps else 'more steps do not help'}.",
        )

    def sections(self, results: Results, out: Path) -> list[str]:
        rows = [[trial, spread([r["bound"] for r in own], "{:.2f}")] for trial, own in results.items() if own]
        return [table(["chain", "bits a place at most"], rows), *super().sections(results, out)]


def bound(pipe: Pipeline, images: ArrayImages, count: int) -> float:
    """The variational bound on code length over all times, in bits a place, the mean over the first `count` images given their classes."""
    prior, total = pipe.prior, 0.0
    with measuring(prior), measuring(pipe.tokenizer):
        for i in range(count):
            codes = pipe.encode(images.pixels[i : i + 1].float() / 255)
            noise = torch.rand(2, TIMES, codes.places, generator=torch.Generator().manual_seed(i))
            told = prior.embed(images.labels[i : i + 1], 1)
            total += float(bound_of_places(prior, codes.flat()[0], torch.zeros(codes.places, dtype=torch.bool), told, noise))
    return total / count / codes.places


CLAIM = D3PMClaim()
