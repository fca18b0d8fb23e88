"""The `maskgit`, `llamagen` and `d3pm` recipes: a VQGAN and a prior over its indices, on any folder of images, sized as `folder` is.

MaskGIT (arXiv 2202.04200) fills masked places in, LlamaGen (arXiv 2406.06525) draws them in raster order, D3PM (arXiv 2107.03006) makes
codes of noise. The codebook is SimVQ's
(arXiv 2411.02038), of which every codeword moves at each step, or VQGAN's nearest codeword (arXiv 2012.09841), of which some die.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bitmosaic.priors.chain import AbsorbingSpec, ChainSpec, MaskAndReplaceSpec, UniformSpec
from bitmosaic.priors.d3pm import D3PMSpec
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.quantizers.simvq import SimVQSpec
from bitmosaic.recipes.folder import folder
from bitmosaic.samplers import AncestralSpec, LlamaGenSamplerSpec, MaskGITSamplerSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.run import Reason, Run, retold

TEMPERATURE, TOP_P = 2.5, 0.9  # of MaskGIT's and LlamaGen's sampling: docs/indices.md says what others gave
GUIDANCE, LIKELIEST = 3.0, 0.6  # guidance where there are classes, and top_p, of D3PM's: docs/denoising.md
CODEBOOKS = {"simvq": SimVQSpec, "nearest": NearestSpec}
CHAINS: dict[str, type[ChainSpec]] = {"mask-and-replace": MaskAndReplaceSpec, "absorbing": AbsorbingSpec, "uniform": UniformSpec}


def maskgit(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    codebook: Literal["simvq", "nearest"] = "simvq", perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0,
    classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and MaskGIT's prior for a folder of images; sub-folders are classes.

    data, size, channels, perceptual, flip, minutes, seed, classes, captions: as of the recipe 'folder'. codewords: V (None: from the
    number of images). codebook: "simvq" or "nearest".
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    run = _on_vqgan("maskgit", base, codewords, codebook)
    old, depth = run.prior, run.prior.depth + 1 - run.prior.depth % 2  # odd: one block in the middle
    prior = MaskGITSpec(old.grid, old.codewords, depth, old.heads, old.width, old.condition, 4 * old.width)
    scale = run.sampler.guidance_scale
    made = run.changed(prior=prior, sampler=MaskGITSamplerSpec(guidance_scale=scale, temperature=TEMPERATURE))
    return replace(made, reasons=retold(made.reasons, made))


def llamagen(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    codebook: Literal["simvq", "nearest"] = "simvq", perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0,
    classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and LlamaGen's causal prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'maskgit'.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    return _on_vqgan("llamagen", base, codewords, codebook)


def d3pm(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    codebook: Literal["simvq", "nearest"] = "simvq", chain: Literal["absorbing", "uniform", "mask-and-replace"] = "absorbing",
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True,
) -> Run:  # fmt: skip
    """A VQGAN and D3PM's denoising prior for a folder of images; sub-folders are classes.

    chain: how codes become noise, "absorbing" (masks alone), "uniform" (other codes alone) or "mask-and-replace". Other arguments as of the
    recipe 'maskgit'.
    """
    if chain not in CHAINS:
        raise ValueError(f"chain: got {chain!r}; want {', '.join(CHAINS)}")
    run = _on_vqgan("d3pm", folder(data, size, channels, None, perceptual, flip, minutes, seed, classes), codewords, codebook)
    old = run.prior
    prior = D3PMSpec(old.grid, old.codewords, old.depth, old.heads, old.width, old.condition, 64, CHAINS[chain]())
    scale = GUIDANCE if run.sampler.guidance_scale != 1 else 1.0
    made = run.changed(prior=prior, sampler=AncestralSpec(guidance_scale=scale, top_p=LIKELIEST))
    return replace(made, reasons=retold(made.reasons, made))


def _on_vqgan(name: str, run: Run, codewords: int | None, codebook: str) -> Run:
    """The folder recipe's run with a VQGAN instead of its tokenizer, and LlamaGen instead of its prior."""
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
