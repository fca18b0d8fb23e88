"""The `open-magvit2` recipe: LFQ in Open-MAGVIT2's networks and by its losses (Luo et al., arXiv 2409.04410) on a folder of images.

`folder --quantizer lfq` has VQGAN's networks and losses instead: here there is no attention, the decoder is normalised by the codes, the
adversary does not saturate, has a constant weight from the first step on, and LeCam. We differ in sizes and in the prior, BiGR's.
"""

from __future__ import annotations

from bitmosaic.quantizers import LFQSpec
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.quantized import around, with_losses, with_tokenizer
from bitmosaic.train.run import Run

LOSSES = {  # of the published configurations of Open-MAGVIT2 and IBQ; images in [0, 1] halve their L1
    "squared_weight": 0.0, "l1_weight": 2.0, "generator_loss": "non-saturating", "balance": "constant", "adversarial_weight": 0.1,
    "adversarial_start": 0, "discriminator_lead": 0, "discriminator_rate": 1.0, "lecam_weight": 0.05,
}  # fmt: skip


def open_magvit2(
    data: str, size: int | None = None, channels: int | None = None, bits: int | None = None,
    perceptual: str = "", flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "",
) -> Run:  # fmt: skip
    """Open-MAGVIT2's tokenizer and BiGR's prior for a folder of images; sub-folders are classes.

    Arguments as of the recipe 'folder'; bits: signs of a place (None: from the number of images; published 18).
    """
    base = folder(data, size, channels, bits, perceptual, flip, minutes, seed, classes, captions)
    tokenizer = around(
        base.tokenizer, LFQSpec(base.tokenizer.bits), attention_sizes=(), embedding=None, family="open-magvit2"
    )  # fmt: skip
    return with_losses(with_tokenizer(base, tokenizer, "lookup-free", name="open-magvit2"), **LOSSES)
