"""A run of the recipe `folder` with any quantizer in place of its bits: a VQGAN around it, and a prior that fits its digits.

The prior is BiGR's (arXiv 2410.14672) where places hold bits, MaskGIT's (2202.04200) where they hold one index, and a masked prior over
digits where they hold several.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.codes import described
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.masked_digits import MaskedDigitsSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.quantizers.base import schemes
from bitmosaic.samplers import MaskGITSamplerSpec, SamplerSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.run import Reason, Run, retold

TEMPERATURE = 2.5  # of MaskGIT's sampler; docs/indices.md has the figures of others


def quantized(run: Run, scheme: str) -> Run:
    """The run with the quantizer of that name, of as many bits a place as its own tokenizer has, where the scheme holds so many.

    ValueError for an unknown name.
    """
    if scheme not in schemes():
        raise ValueError(f"quantizer: got {scheme!r}; give one of {', '.join(schemes())}")
    old, quantizer = run.tokenizer, schemes()[scheme].of_bits(run.tokenizer.bits)
    tokenizer = VQGANSpec(
        old.image_size, old.channels, quantizer, old.width, old.multipliers, old.residual_blocks, old.attention_sizes, old.embedding,
        old.groups,
    )  # fmt: skip
    prior, sampler = fitting(run, quantizer.radix)
    changed = run.changed(tokenizer=tokenizer, prior=prior, sampler=sampler)

    def reason(run: Run) -> str:
        return f"quantizer {scheme}: {described(run.tokenizer.radix)}"

    return replace(changed, reasons=retold((*run.reasons, Reason.of(reason, changed)), changed))


def fitting(run: Run, radix: tuple[int, ...]) -> tuple[PriorSpec, SamplerSpec]:
    """A masked prior of the run's sizes for places of that radix, and its sampler."""
    old, guided = run.prior, MaskGITSamplerSpec(guidance_scale=run.sampler.guidance_scale, temperature=TEMPERATURE)
    if set(radix) == {2} and len(radix) > 1:
        return old.on(old.grid, radix, old.condition), run.sampler
    if len(radix) == 1:
        depth = old.depth + 1 - old.depth % 2  # odd: one block in the middle
        return MaskGITSpec(old.grid, radix[0], depth, old.heads, old.width, old.condition, 4 * old.width), guided
    return MaskedDigitsSpec(old.grid, radix, old.depth, old.heads, old.width, 4 * old.width, old.condition), guided
