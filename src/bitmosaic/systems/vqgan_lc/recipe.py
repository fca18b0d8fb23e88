"""The `vqgan-lc` recipe: VQGAN-LC's large codebook by its losses (Zhu et al., arXiv 2406.11837) and a causal prior, on a folder of images.

`folder --quantizer features` has 1,024 codewords at most and VQGAN's losses instead: here there are thousands, the quantizer's loss counts
a tenth, the adaptive weight is not bounded by 1, and the PatchGAN has two levels. We differ in sizes and in the feature network.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.quantized import with_losses
from bitmosaic.systems.vqgan.recipe import on_vqgan
from bitmosaic.train.run import Run

SIZES = 4096, 16384  # codewords for few images, and for others; published 100,000
SHARE = 0.1  # of the quantizer's loss


def vqgan_lc(
    data: str, size: int | None = None, channels: int | None = None, codewords: int | None = None,
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """VQGAN-LC's tokenizer and a causal prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'maskgit'; the codewords are features of the network of `perceptual`, or of that which is trained first.
    """
    base = folder(data, size, channels, None, perceptual, flip, minutes, seed, classes, captions)
    run = on_vqgan("vqgan-lc", base, codewords, "features", SIZES, commitment=SHARE, codebook=0.33 * SHARE)
    judge = run.tokenizer_losses.discriminator
    return with_losses(
        run, squared_weight=0.0, l1_weight=2.0, adversarial_weight=0.1, adaptive_limit=1e4, discriminator=judge and replace(judge, layers=2)
    )  # fmt: skip
