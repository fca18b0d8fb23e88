"""The claim of binary latents (arXiv 2304.04820, section 3.1): at an equal grid, bits keep more of an image than the index of a codeword.

We differ in data (Fashion-MNIST for faces, bedrooms and ImageNet) and sizes, and add a baseline whose codewords are all in use.
"""

from __future__ import annotations

from bitmosaic.quantizers import BernoulliQuantizerSpec, NearestEMASpec, NearestSpec
from bitmosaic.systems.base import Results, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.tokenizer_trials import TokenizerClaim, autoencoder, each, gains, setting

STEPS = 600
BITS, CODEWORDS, WIDTH = 32, 1024, 32
MARGIN = 1.0  # dB by which bits are to be better


class BinaryLatentsClaim(TokenizerClaim):
    """PSNR of reconstructions from bits and from indices of a codebook."""

    said = (
        "Binary codes of 16 x 16 places of 32 bits keep more of an image than as many indices of a codebook of 1,024: binary latents "
        "have a compact but more expressive representation, and one-stage samples at 1,024 x 1,024 pixels become possible."
    )
    tested = (
        f"{setting(STEPS)} A place holds {BITS} bits, or the index of one of {CODEWORDS:,} codewords of width {WIDTH}: the nearest, "
        "trained by gradient descent, or moved by running means with dead codewords restarted. The claim counts as repeated where, with "
        f"every seed, bits have a PSNR higher by at least {MARGIN:g} dB than both."
    )
    specs = {
        "32 bits": autoencoder(BernoulliQuantizerSpec(BITS)),
        "1024 codewords": autoencoder(NearestSpec(CODEWORDS, WIDTH)),
        "1024 restarted": autoencoder(NearestEMASpec(CODEWORDS, WIDTH)),
    }
    trials = tuple(specs)
    steps = STEPS
    picture = "binary_latents.png"
    columns = {
        "PSNR, dB": ("psnr", "{:.2f}"), "SSIM": ("ssim", "{:.4f}"), "values in use": ("used", "{:.1%}"),
        "entropy, bits a place": ("entropy", "{:.1f}"),
    }  # fmt: skip

    def verdict(self, results: Results) -> Verdict:
        bits, *others = (results[trial] for trial in self.trials)
        found = [gains(bits, other) for other in others]
        holds = min(min(values) for values in found) >= MARGIN
        return Verdict(
            holds,
            f"Bits have {spread(each(bits, 'psnr'), '{:.2f}')} dB: above the nearest codeword by {spread(found[0], '{:.2f}')} dB, above "
            f"codewords that are restarted by {spread(found[1], '{:.2f}')} dB; {'at least' if holds else 'not always'} {MARGIN:g} dB with "
            "every seed.",
        )


CLAIM = BinaryLatentsClaim()
