"""The claim of LlamaGen (arXiv 2406.06525): a plain Llama draws better the larger it is, and guidance helps up to a scale.

We differ in data (Fashion-MNIST for ImageNet) and sizes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.base import Results, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.prior_trials import SIZES, IndexPriorClaim, of_ways, setting

STEPS = 300
SCALES = (1.0, 1.5, 2.5, 5.0)
WAYS = {f"guidance {s:g}": LlamaGenSamplerSpec(guidance_scale=s) for s in SCALES}
FIRST, LAST = list(WAYS)[0], list(WAYS)[-1]


class LlamaGenClaim(IndexPriorClaim):
    """Distances by guidance scale, of a larger and a smaller prior."""

    said = (
        "On ImageNet at 256 pixels guidance lowers FID up to a scale of about 2 and raises it beyond, and a larger Llama is "
        "better without any bias towards images: FID 5.46 with 111 M parameters, 3.80 with 343 M, 3.05 with 3.1 B."
    )
    tested = (
        f"{setting(STEPS)} The small prior has two blocks of width 64, the large one four of {SIZES['width']}. All codewords are drawn "
        f"from, at temperature 1, with guidance {', '.join(f'{s:g}' for s in SCALES)}. The claim counts as repeated where, of the large "
        "prior and with every seed, the lowest distance is at neither end of these scales, and where with every seed the large prior's "
        "lowest distance is below the small one's."
    )
    priors = {
        "large": LlamaGenSpec(depth=4, multiple=64, **SIZES),
        "small": LlamaGenSpec(depth=2, multiple=64, **{**SIZES, "width": 64}),
    }  # fmt: skip
    ways = dict.fromkeys(priors, WAYS)
    shown = dict.fromkeys(priors, LlamaGenSamplerSpec())
    picture = "llamagen.png"
    caption = "a picture of each class at guidance 2: the large prior above, the small one below"
    steps = STEPS
    trials = tuple(priors)
    seeds = 2

    def verdict(self, results: Results) -> Verdict:
        best = {trial: [lowest(r) for r in own] for trial, own in results.items()}
        inside = all(way not in (FIRST, LAST) for way, _ in best["large"])
        larger = all(a < b for (_, a), (_, b) in zip(best["large"], best["small"], strict=False))
        means = {way: statistics.mean(values) for way, values in of_ways(results["large"], WAYS).items()}
        distances = {trial: spread([distance for _, distance in own], "{:.2f}") for trial, own in best.items()}
        return Verdict(
            inside and larger,
            f"By the mean of the seeds the large prior's distance is {means[FIRST]:.2f} without guidance, "
            f"{min(means.values()):.2f} with {min(means, key=means.__getitem__)} and {means[LAST]:.2f} with {LAST}: the lowest is "
            f"{'between the ends' if inside else 'at an end'} {'with every seed' if inside else 'with some seed'}. At their best the large "
            f"prior has {distances['large']}, the small one {distances['small']}: {'lower' if larger else 'not lower'} with every seed.",
        )


def lowest(result: Mapping[str, Any]) -> tuple[str, float]:
    """The guidance setting with the lowest distance, and that distance."""
    way = min(WAYS, key=lambda name: result["samplings"][name]["frechet"])
    return way, result["samplings"][way]["frechet"]


CLAIM = LlamaGenClaim()
