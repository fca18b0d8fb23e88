"""The `d3pm` recipe: a VQGAN and a denoising prior (Austin et al., arXiv 2107.03006) on any folder of images, sized as `folder` is.

We differ in the codebook, SimVQ's (arXiv 2411.02038) unless asked otherwise, and in sizes, which are chosen from the images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bitmosaic.priors.chain import AbsorbingSpec, ChainSpec, MaskAndReplaceSpec, UniformSpec
from bitmosaic.priors.d3pm import D3PMSpec
from bitmosaic.samplers import AncestralSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run, retold

GUIDANCE, LIKELIEST = 3.0, 0.6  # guidance where there are classes, and top_p, of the sampler: docs/denoising.md
CHAINS: dict[str, type[ChainSpec]] = {"mask-and-replace": MaskAndReplaceSpec, "absorbing": AbsorbingSpec, "uniform": UniformSpec}


def d3pm(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    codebook: str = "simvq", chain: Literal["absorbing", "uniform", "mask-and-replace"] = "absorbing",
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True,
    captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and D3PM's denoising prior for a folder of images; sub-folders are classes.

    chain: the transitions, "absorbing" (codes become masks), "uniform" (random codes) or "mask-and-replace" (both). Other arguments as of
    the recipe 'maskgit'. ValueError for an unknown chain or codebook.
    """
    if chain not in CHAINS:
        raise ValueError(f"chain: got {chain!r}; want {', '.join(CHAINS)}")
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    run = on_vqgan("d3pm", base, codewords, codebook)
    old = run.prior
    prior = D3PMSpec(old.grid, old.codewords, old.depth, old.heads, old.width, old.condition, 64, CHAINS[chain]())
    scale = GUIDANCE if run.sampler.guidance_scale != 1 else 1.0
    made = run.changed(prior=prior, sampler=AncestralSpec(guidance_scale=scale, top_p=LIKELIEST))
    return replace(made, reasons=retold(made.reasons, made))
