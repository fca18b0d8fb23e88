"""The `maskgit` recipe: a VQGAN and MaskGIT's prior (Chang et al., arXiv 2202.04200) on any folder of images, sized as `folder` is.

We differ in the codebook, SimVQ's (arXiv 2411.02038) unless asked otherwise, and in sizes, which are chosen from the images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.samplers import MaskGITSamplerSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run, retold

TEMPERATURE = 2.5  # of the sampler; docs/indices.md has the figures of others


def maskgit(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    codebook: Literal["simvq", "nearest"] = "simvq", perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0,
    classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and MaskGIT's prior for a folder of images; sub-folders are classes.

    data, size, channels, perceptual, flip, minutes, seed, classes, captions: as of the recipe 'folder'. codewords: V (None: from the
    number of images). codebook: "simvq" or "nearest". ValueError for an unknown one.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    run = on_vqgan("maskgit", base, codewords, codebook)
    old, depth = run.prior, run.prior.depth + 1 - run.prior.depth % 2  # odd: one block in the middle
    prior = MaskGITSpec(old.grid, old.codewords, depth, old.heads, old.width, old.condition, 4 * old.width)
    scale = run.sampler.guidance_scale
    made = run.changed(prior=prior, sampler=MaskGITSamplerSpec(guidance_scale=scale, temperature=TEMPERATURE))
    return replace(made, reasons=retold(made.reasons, made))
