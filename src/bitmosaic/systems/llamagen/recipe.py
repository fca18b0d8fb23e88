"""The `llamagen` recipe: a VQGAN and LlamaGen's causal prior (Sun et al., arXiv 2406.06525) on any folder of images, sized as `folder` is.

We differ in the codebook, SimVQ's (arXiv 2411.02038) unless asked otherwise, and in sizes, which are chosen from the images.
"""

from __future__ import annotations

from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run


def llamagen(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None, codebook: str = "simvq",
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """A VQGAN and LlamaGen's causal prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'maskgit'. ValueError for an unknown codebook.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    return on_vqgan("llamagen", base, codewords, codebook)
