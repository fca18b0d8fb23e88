"""The claim of FQGAN (arXiv 2411.16681, section 3.2, Table 1): two codebooks of K beat one of 2K, and are kept from saying the same.

We differ in data (Fashion-MNIST for ImageNet), in sizes, and in training by L1, squared error and the quantizers' losses alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bitmosaic.codes import Codes
from bitmosaic.quantizers import CosineSpec, FactorizedSpec
from bitmosaic.quantizers.product import Factorized, overlap
from bitmosaic.systems.base import Results, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.tokenizer_trials import TokenizerClaim, each, gains, setting
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.tokenizers.fqgan import FQGANSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec

STEPS = 500
CODEWORDS, WIDTH = 512, 8  # K and d of each of two codebooks
ENTROPY, DISENTANGLEMENT = 0.03, 0.1  # weights, the published ones
MARGIN, USED, FALL, PRICE = 0.5, 0.9, 5.0, 0.02  # dB, share in use, factor of the squared cosine, share of the squared error


def two_books(disentanglement: float) -> FQGANSpec:
    """An FQGAN of two codebooks."""
    book = CosineSpec(CODEWORDS, WIDTH, entropy=ENTROPY)
    return FQGANSpec((28, 28), 1, FactorizedSpec((book, book), disentanglement), 8, (1, 2, 4), 1, 32, 1, 4, 8)


class FQGANClaim(TokenizerClaim):
    """Two codebooks with and without disentanglement, and one that is twice as large."""

    said = (
        "On ImageNet at 256 pixels and 16 x 16 places two codebooks have rFID 0.94 and 22.0 dB where LlamaGen's tokenizer with one has "
        "2.19 and 20.8 dB; all codewords stay in use, and the disentanglement loss makes the two say different things at no cost."
    )
    tested = (
        f"{setting(STEPS)} A place has an index of each of two codebooks of {CODEWORDS:,} unit vectors behind a branch each, with and "
        f"without disentanglement, or of one codebook of {2 * CODEWORDS:,} in the same encoder and decoder without branches. The claim "
        f"counts as repeated where, with every seed, two codebooks have a PSNR higher by at least {MARGIN:g} dB than one, at least "
        f"{USED:.0%} of each are used, and disentanglement divides the mean squared cosine of a place's codewords by at least {FALL:g} "
        f"while the squared error rises by {PRICE:.0%} at most."
    )
    specs = {
        "two books": two_books(DISENTANGLEMENT),
        "one book": VQGANSpec((28, 28), 1, CosineSpec(2 * CODEWORDS, WIDTH, entropy=ENTROPY), 8, (1, 2, 4), 1, (7,), 32, 8),
        "two not disentangled": two_books(0.0),
    }
    trials = tuple(specs)
    steps = STEPS
    picture = "fqgan.png"
    columns = {
        "PSNR, dB": ("psnr", "{:.2f}"), "SSIM": ("ssim", "{:.4f}"), "squared error": ("squared_error", "{:.5f}"),
        "codewords used": ("used", "{:.1%}"), "entropy, bits a place": ("entropy", "{:.1f}"), "squared cosine": ("overlap", "{:.4f}"),
    }  # fmt: skip

    @torch.no_grad()
    def further(self, tokenizer: Tokenizer, codes: Codes) -> dict[str, float]:
        """The mean squared cosine of the codewords of a place, where there are two."""
        quantizer = tokenizer.quantizer
        if not isinstance(quantizer, Factorized):
            return {}
        parts = quantizer.decode(codes.digits).split(quantizer.widths, -1)
        return {"overlap": float(overlap([F.normalize(part.float(), dim=-1) for part in parts]))}

    def verdict(self, results: Results) -> Verdict:
        two, one, free = (results[trial] for trial in self.trials)
        gained, used = gains(two, one), each(two, "used")
        fall = [b / max(a, 1e-12) for a, b in zip(each(two, "overlap"), each(free, "overlap"), strict=False)]
        price = [a / b - 1 for a, b in zip(each(two, "squared_error"), each(free, "squared_error"), strict=False)]
        passed = [min(gained) >= MARGIN, min(used) >= USED, min(fall) >= FALL, max(price) <= PRICE]
        parts = [
            f"Two codebooks are {spread(gained, '{:.2f}')} dB above one of twice the size",
            f"{spread(used, '{:.1%}')} of the less used one are in use",
            f"disentanglement divides the squared cosine by {spread(fall, '{:.1f}')}",
            f"it changes the squared error by {spread(price, '{:+.1%}')}",
        ]
        words = [f"{part} ({'as claimed' if held else 'not as claimed with every seed'})" for part, held in zip(parts, passed, strict=True)]
        return Verdict(all(passed), "; ".join(words) + ".")


CLAIM = FQGANClaim()
