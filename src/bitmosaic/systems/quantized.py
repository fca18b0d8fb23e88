"""A run of the recipe `folder` with any quantizer in place of its bits: a VQGAN around it, and a prior that fits its digits.

The prior is BiGR's (arXiv 2410.14672) where places hold bits, MaskGIT's (2202.04200) where they hold one index, and a masked prior over
digits where they hold several.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bitmosaic.codes import described
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.masked_digits import MaskedDigitsSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.quantizers.base import QuantizerSpec, schemes
from bitmosaic.samplers import MaskGITSamplerSpec, SamplerSpec
from bitmosaic.tokenizers.base import TokenizerSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.run import Reason, Run, retold

TEMPERATURE = 2.5  # of MaskGIT's sampler; docs/indices.md has the figures of others


def quantized(run: Run, scheme: str) -> Run:
    """The run with the quantizer of that name, of as many bits a place as its own tokenizer has, where the scheme holds so many.

    ValueError for an unknown name.
    """
    if scheme not in schemes():
        raise ValueError(f"quantizer: got {scheme!r}; give one of {', '.join(schemes())}")
    tokenizer = around(run.tokenizer, schemes()[scheme].of_bits(run.tokenizer.bits))
    return with_tokenizer(run, tokenizer, f"quantizer {scheme}")


def around(old: TokenizerSpec, quantizer: QuantizerSpec, **fields: Any) -> VQGANSpec:
    """A VQGAN of the sizes of a recipe's tokenizer around a quantizer, with other fields as given."""
    vqgan = VQGANSpec(
        old.image_size, old.channels, quantizer, old.width, old.multipliers, old.residual_blocks, old.attention_sizes, old.embedding,
        old.groups,
    )  # fmt: skip
    return replace(vqgan, **fields)


def with_tokenizer(run: Run, tokenizer: TokenizerSpec, title: str, **fields: Any) -> Run:
    """The run with that tokenizer and a masked prior that fits it, or with the `fields` given; the reason begins with `title`."""
    prior, sampler = fitting(run, tokenizer.radix)
    changed = run.changed(**{"tokenizer": tokenizer, "prior": prior, "sampler": sampler, **fields})
    return because(changed, lambda run: f"{title}: {described(run.tokenizer.radix)}")


def because(run: Run, tell: Any) -> Run:
    """The run with one more reason, `tell(run)`."""
    return replace(run, reasons=retold((*run.reasons, Reason.of(tell, run)), run))


def with_losses(run: Run, **fields: Any) -> Run:
    """The run with the losses of a paper: `fields` of its TokenizerLosses. Whether there is a PatchGAN stays as the images allow."""
    return run.changed(tokenizer_losses=replace(run.tokenizer_losses, **fields))


def fitting(run: Run, radix: tuple[int, ...]) -> tuple[PriorSpec, SamplerSpec]:
    """A masked prior of the run's sizes for places of that radix, and its sampler."""
    old, guided = run.prior, MaskGITSamplerSpec(guidance_scale=run.sampler.guidance_scale, temperature=TEMPERATURE)
    if set(radix) == {2} and len(radix) > 1:
        return old.on(old.grid, radix, old.condition), run.sampler
    if len(radix) == 1:
        depth = old.depth + 1 - old.depth % 2  # odd: one block in the middle
        return MaskGITSpec(old.grid, radix[0], depth, old.heads, old.width, old.condition, 4 * old.width), guided
    return MaskedDigitsSpec(old.grid, radix, old.depth, old.heads, old.width, 4 * old.width, old.condition), guided
