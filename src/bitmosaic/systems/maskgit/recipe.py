"""The `maskgit` recipe: a VQGAN and MaskGIT's prior (Chang et al., arXiv 2202.04200) on any folder of images, sized as `folder` is.

We differ in the codebook, SimVQ's (arXiv 2411.02038) unless asked otherwise, and in sizes, which are chosen from the images.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.quantized import fitting
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run, retold


def maskgit(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None, codebook: str = "simvq",
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and MaskGIT's prior for a folder of images; sub-folders are classes.

    data, size, channels, perceptual, flip, minutes, seed, classes, captions: as of the recipe 'folder'. codewords: V (None: from the
    number of images). codebook: a scheme of one index a place, such as simvq, nearest, ema, cosine or ibq. ValueError for an unknown one.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    run = on_vqgan("maskgit", base, codewords, codebook)
    prior, sampler = fitting(run, run.tokenizer.radix)
    made = run.changed(prior=prior, sampler=sampler)
    return replace(made, reasons=retold(made.reasons, made))
