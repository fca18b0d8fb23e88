"""The claim of FAR (arXiv 2411.16681, section 3.3): a head that draws the indices of a place one after another beats independent heads.

We differ in data (Fashion-MNIST for ImageNet) and sizes. The baseline has a block more in its trunk in place of the head's, so that both
have as many weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bitmosaic.images import fashion_sample
from bitmosaic.media import PICTURES
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.causal_digits import CausalDigitsSpec
from bitmosaic.priors.far import FARSpec
from bitmosaic.priors.likelihood import code_length
from bitmosaic.quantizers import CosineSpec, FactorizedSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.base import Results, Task, Verdict
from bitmosaic.systems.page import figures_table, spread
from bitmosaic.systems.prior_trials import SIZES, IndexPriorClaim, index_pipeline, index_run, setting
from bitmosaic.tokenizers.fqgan import FQGANSpec

STEPS = 400
CODEWORDS, WIDTH = 256, 8  # of each codebook
HELD_OUT = 1000  # test images whose codes are measured in bits
WAYS = {f"guidance {s:g}": LlamaGenSamplerSpec(guidance_scale=s) for s in (1.0, 1.5)}
BOOK = CosineSpec(CODEWORDS, WIDTH, entropy=0.03)
TOKENIZER = FQGANSpec((28, 28), 1, FactorizedSpec((BOOK, BOOK)), 8, (1, 2, 4), 1, 32, 1, 4, 8)
SHARED = {**{name: SIZES[name] for name in ("grid", "heads", "width", "condition")}, "radix": (CODEWORDS,) * 2, "multiple": 64}


class FARClaim(IndexPriorClaim):
    """Distances and held-out bits of priors over an FQGAN's pairs of indices."""

    said = (
        "The indices of a place belong together, so a head of three or four layers predicts one after another: a Llama with it has FID "
        "3.38 (FAR-B, 415 M parameters) and 3.08 (FAR-L, 898 M) on ImageNet at 256 pixels, where LlamaGen-L has 3.80."
    )
    tested = (
        f"{setting(STEPS, f'7 x 7 pairs of indices of two codebooks of {CODEWORDS}', 'an FQGAN')} One prior has three blocks and a depth "
        "head of one, the other four blocks and a linear head for each index. Held-out bits are those that the codes of the first "
        f"{HELD_OUT:,} test images cost, given their class. The claim counts as repeated where, with every seed, the depth head has both "
        f"fewer bits and the lower distance, each at its best of {' and '.join(WAYS)}."
    )
    priors: Mapping[str, PriorSpec] = {
        "depth head": FARSpec(depth=3, head_depth=1, **SHARED),
        "independent heads": CausalDigitsSpec(depth=4, **SHARED),
    }  # fmt: skip
    ways = dict.fromkeys(priors, WAYS)
    shown = dict.fromkeys(priors, WAYS["guidance 1.5"])
    picture = "far.png"
    caption = "a picture of each class at guidance 1.5: the depth head above, independent heads below"
    steps = STEPS
    trials = tuple(priors)
    seeds = 2
    tokenizer = "FQGAN"

    def pipeline(self, task: Task) -> Pipeline:
        base = index_run(task).changed(tokenizer=TOKENIZER, prior=self.priors["depth head"], sampler=self.shown["depth head"])
        return index_pipeline(task, self.priors[task.trial], self.shown[task.trial], self.steps, base, "fqgan")

    def figures(self, task: Task, known: Mapping[str, Any], pipe: Pipeline) -> Iterator[dict[str, Any]]:
        if "bits" not in known:
            yield {"bits": held_out(pipe, task.some(HELD_OUT, 10))}
        yield from super().figures(task, known, pipe)

    def verdict(self, results: Results) -> Verdict:
        ours, theirs = (results[trial] for trial in self.trials)
        bits = [[r["bits"] for r in own] for own in (ours, theirs)]
        best = [[min(r["samplings"][way]["frechet"] for way in WAYS) for r in own] for own in (ours, theirs)]
        fewer, nearer = (all(a < b for a, b in zip(*pair, strict=False)) for pair in (bits, best))
        return Verdict(
            fewer and nearer,
            f"Held-out codes cost {spread(bits[0], '{:.2f}')} bits a place with the depth head, {spread(bits[1], '{:.2f}')} with "
            f"independent ones: {'fewer' if fewer else 'not fewer'} with every seed. At their best the distances are "
            f"{spread(best[0], '{:.2f}')} and {spread(best[1], '{:.2f}')}: {'lower' if nearer else 'not lower'} with every seed.",
        )

    def sections(self, results: Results, out: Path) -> list[str]:
        table = figures_table("head", results, {"held-out bits a place": ("bits", "{:.2f}"), "parameters": ("parameters", "{:,.0f}")})
        return [table, *super().sections(results, out)]


def held_out(pipe: Pipeline, count: int) -> float:
    """Bits that a place of the first `count` test images costs on average, given their classes."""
    test, lengths = fashion_sample(), []
    for part in torch.arange(count).split(100):
        codes, labels = pipe.encode(PICTURES.floats(test.pixels[part])), test.labels[part]
        known = torch.zeros(codes.digits.shape[:-1], dtype=torch.bool)
        lengths.append(code_length(pipe.prior, codes, known, labels, torch.Generator().manual_seed(0)))
    return float(torch.cat(lengths).double().mean()) / codes.places


CLAIM = FARClaim()
