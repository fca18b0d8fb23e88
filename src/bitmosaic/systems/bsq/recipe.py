"""The `bsq` recipe: BSQ by the losses of its program (Zhao et al., arXiv 2406.07548) on any folder of images, sized as `folder` is.

`folder --quantizer bsq` has VQGAN's losses, a commitment and entropies over groups instead: here entropies are of each bit by itself,
there is no commitment, and the adversary is logistic, with a constant weight from the first step on. We differ in VQGAN's networks and in
a PatchGAN.
"""

from __future__ import annotations

from bitmosaic.quantizers import BSQSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.quantized import around, with_losses, with_tokenizer
from bitmosaic.train.run import Run

LOSSES = {
    "squared_weight": 0.0, "discriminator_loss": "logistic", "generator_loss": "logistic", "balance": "constant", "adversarial_weight": 0.1,
    "adversarial_start": 0, "discriminator_lead": 0, "discriminator_rate": 1.0,
}  # fmt: skip


def bsq(
    data: str, size: int | None = None, channels: int | None = None, bits: int | None = None,
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """BSQ's tokenizer and BiGR's prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'folder'; bits: signs of a place (None: from the number of images; published 18 or 36).
    """
    base = folder(data, size, channels, bits, perceptual, flip, minutes, seed, classes, captions)
    quantizer = BSQSpec(base.tokenizer.bits, entropy=0.1, commitment=0.0, group=1)
    tokenizer = around(base.tokenizer, quantizer)
    return with_losses(with_tokenizer(base, tokenizer, "binary spherical", name="bsq"), **LOSSES)
