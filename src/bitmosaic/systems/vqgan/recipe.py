"""A VQGAN (Esser et al., arXiv 2012.09841) in place of a run's tokenizer, and a causal prior over its indices: what other recipes build on.

We differ in the prior, LlamaGen's (Sun et al., arXiv 2406.06525). The codebook is SimVQ's (Zhu et al., 2411.02038), of which every
codeword moves at each step, or VQGAN's nearest codeword, of which some die.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.quantizers.simvq import SimVQSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.run import Reason, Run, retold

TOP_P = 0.9  # of the sampler; docs/indices.md has the figures of others
CODEBOOKS = {"simvq": SimVQSpec, "nearest": NearestSpec}


def on_vqgan(name: str, run: Run, codewords: int | None, codebook: str) -> Run:
    """The run of the recipe `folder` with a VQGAN as its tokenizer and LlamaGen as its prior.

    name: of the new run. codewords: V; None: 256 for few images, else 1,024. codebook: a key of CODEBOOKS; ValueError for another.
    """
    if codebook not in CODEBOOKS:
        raise ValueError(f"codebook: got {codebook!r}; want {' or '.join(CODEBOOKS)}")
    old, prior = run.tokenizer, run.prior
    few = old.bits < 24
    chosen = codewords or (256 if few else 1024)
    tokenizer = VQGANSpec(
        old.image_size, old.channels, CODEBOOKS[codebook](chosen, 16), old.width, old.multipliers, old.residual_blocks, old.attention_sizes,
        old.embedding, old.groups,
    )  # fmt: skip
    why = "few images, so a code that a prior learns easily" if few else "enough images for a fine code"

    def reason(run: Run) -> str:
        there = run.prior.radix[0]
        return f"{there} codewords by {codebook}: {why if codewords is None and there == chosen else 'as asked for'}"

    changed = run.changed(
        name=name, tokenizer=tokenizer, code_draws=1 + run.flip,
        prior=LlamaGenSpec(prior.grid, chosen, prior.depth, prior.heads, prior.width, prior.condition, 64),
        sampler=LlamaGenSamplerSpec(run.sampler.guidance_scale, top_p=TOP_P),
    )  # fmt: skip
    return replace(changed, reasons=retold((*run.reasons, Reason.of(reason, changed)), changed))
