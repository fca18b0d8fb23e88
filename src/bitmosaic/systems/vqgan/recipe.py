"""A VQGAN (Esser et al., arXiv 2012.09841) in place of a run's tokenizer, and a causal prior over its indices: what other recipes build on.

We differ in the prior, LlamaGen's (Sun et al., arXiv 2406.06525). The codebook is of any scheme of one index, such as SimVQ's (Zhu et al.,
2411.02038), of which every codeword moves at each step, or VQGAN's nearest codeword, of which some die.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.quantizers.codebook import codebooks
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.quantized import around, because
from bitmosaic.train.run import Run

TOP_P = 0.9  # of the sampler; docs/indices.md has the figures of others
FEW = 24  # bits of a place that the recipe `folder` takes where there are images enough; fewer where there are few


def on_vqgan(
    name: str, run: Run, codewords: int | None, scheme: str, sizes: tuple[int, int] = (256, 1024), **fields: Any
) -> Run:  # fmt: skip
    """The run of the recipe `folder` with a VQGAN as its tokenizer and LlamaGen as its prior.

    name: of the new run. codewords: V; None: the first of `sizes` for few images, else the second. scheme: of one index a place;
    ValueError for another. fields: of its description.
    """
    if scheme not in codebooks():
        raise ValueError(f"codebook: got {scheme!r}; want {', '.join(codebooks())}")
    few, prior = run.tokenizer.bits < FEW, run.prior
    chosen = codewords or sizes[0 if few else 1]
    quantizer = replace(codebooks()[scheme].of_codewords(chosen), **fields)
    why = "few images, so a code that a prior learns easily" if few else "enough images for a fine code"

    def reason(run: Run) -> str:
        there = run.prior.radix[0]
        return f"{there} codewords by {scheme}: {why if codewords is None and there == chosen else 'as asked for'}"

    changed = run.changed(
        name=name, tokenizer=around(run.tokenizer, quantizer), code_draws=1 + run.flip,
        prior=LlamaGenSpec(prior.grid, chosen, prior.depth, prior.heads, prior.width, prior.condition, 64),
        sampler=LlamaGenSamplerSpec(run.sampler.guidance_scale, top_p=TOP_P),
    )  # fmt: skip
    return because(changed, reason)
