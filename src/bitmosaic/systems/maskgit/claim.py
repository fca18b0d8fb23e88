"""The claim of MaskGIT (arXiv 2202.04200, Table 1): a few rounds of many places draw better than one place after another.

We differ in data (Fashion-MNIST for ImageNet) and sizes, and in a causal transformer that is a Llama, of as many blocks and parameters.
"""

from __future__ import annotations

import statistics

from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.samplers import LlamaGenSamplerSpec, MaskGITSamplerSpec, RasterSpec
from bitmosaic.systems.base import Results, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.prior_trials import SIZES, IndexPriorClaim, of_ways, setting

ROUNDS, TEMPERATURE = (1, 2, 4, 8, 16, 49), 2.5  # the last: about a place a round
FEW = 8  # the paper's rounds


def rounds(n: int, temperature: float = TEMPERATURE) -> tuple[str, MaskGITSamplerSpec]:
    """A sampler of n rounds, after its name."""
    return f"{n} rounds, temperature {temperature:g}", MaskGITSamplerSpec(n, guidance_scale=1.0, temperature=temperature)


SWEEP = [rounds(n) for n in ROUNDS]
IN_FEW = [rounds(FEW, t) for t in (1.0, TEMPERATURE, 4.5)]  # the best of these counts, as of IN_ORDER
IN_ORDER = [(f"49 draws, top_p {p:g}", LlamaGenSamplerSpec(guidance_scale=1.0, top_p=p)) for p in (0.8, 0.9, 1.0)]
ONE_BY_ONE = "raster order, 49 draws", RasterSpec(guidance_scale=1.0)  # the masked prior, outside the claim: the cost of rounds


class MaskGITClaim(IndexPriorClaim):
    """Masked and causal priors of one size, and the number of rounds."""

    said = (
        "On ImageNet at 256 pixels MaskGIT has FID 6.18 in 8 rounds, where a causal transformer of the same size over a VQGAN's codes, "
        "trained alike, has 18.65 in 256 (Table 1). More rounds are not better without end: there is a best number, about 8 to 12."
    )
    tested = (
        f"{setting()} A masked and a causal prior of five blocks each, no guidance. The claim counts as repeated where, with every seed, "
        f"{FEW} rounds at the best of three temperatures have a lower distance than place by place at the best of three values of top_p, "
        f"and where, of {', '.join(map(str, ROUNDS[:-1]))} and {ROUNDS[-1]} rounds at temperature {TEMPERATURE:g}, neither the fewest nor "
        "the most have the lowest, by the mean of the seeds. Beside the claim the masked prior is "
        "asked for one place after another too, which tells what the rounds cost it."
    )
    priors = {"maskgit": MaskGITSpec(depth=5, inner=512, **SIZES), "causal": LlamaGenSpec(depth=5, multiple=64, **SIZES)}
    ways = {"maskgit": dict([*SWEEP, *IN_FEW, ONE_BY_ONE]), "causal": dict(IN_ORDER)}
    shown = {"maskgit": IN_FEW[0][1], "causal": IN_ORDER[0][1]}
    picture = "maskgit.png"
    caption = f"a picture of each class: the masked prior in {FEW} rounds above, at temperature 1; place by place below, at top_p 0.8"
    trials = tuple(priors)
    seeds = 2

    def verdict(self, results: Results) -> Verdict:
        few, order = best_of(results["maskgit"], IN_FEW), best_of(results["causal"], IN_ORDER)
        better = all(a < b for a, b in zip(few, order, strict=False))
        means = {name: statistics.mean(values) for name, values in of_ways(results["maskgit"], dict(SWEEP)).items()}
        lowest = min(means, key=means.__getitem__)
        inside = lowest not in (SWEEP[0][0], SWEEP[-1][0])
        one_by_one = of_ways(results["maskgit"], dict([ONE_BY_ONE])).get(ONE_BY_ONE[0], [])
        return Verdict(
            better and inside,
            f"{FEW} rounds have {spread(few, '{:.2f}')}, place by place {spread(order, '{:.2f}')}: "
            f"{'lower' if better else 'not lower'} with every seed. Of the numbers of rounds the lowest distance is that of "
            f"{lowest.split(',')[0]}, {'between the fewest and the most' if inside else 'an end of what was tried'}. The masked prior, "
            f"asked for one place after another, has {spread(one_by_one, '{:.2f}')}.",
        )


def best_of(results, ways) -> list[float]:
    """The lowest distance among some samplers, for each seed."""
    return [min(r["samplings"][name]["frechet"] for name, _ in ways) for r in results]


CLAIM = MaskGITClaim()
