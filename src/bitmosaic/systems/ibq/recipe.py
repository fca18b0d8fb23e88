"""The `ibq` recipe: IBQ's tokenizer by its losses (Shi et al., arXiv 2412.02692) and a causal prior, as its own, on a folder of images.

`folder --quantizer ibq` has VQGAN's losses and narrow codewords instead: here codewords are as wide as the encoder's output, the adversary
does not saturate, has a constant weight from the first step on, and LeCam. We differ in sizes.
"""

from __future__ import annotations

from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.open_magvit2.recipe import LOSSES
from bitmosaic.systems.quantized import with_losses
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run


def ibq(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """IBQ's tokenizer and LlamaGen's causal prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'maskgit'.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    return with_losses(on_vqgan("ibq", base, codewords, "ibq", width=base.tokenizer.embedding), **LOSSES)
