"""The claim of VQGAN-LC (arXiv 2406.11837, sections 1 and 4): of 100,000 features behind a projector 99 % are used.

We differ in data (Fashion-MNIST for ImageNet), in a small classifier's features for CLIP's, in sizes, and in features of places themselves,
bettered by one of Lloyd's steps, where there are 100,000: k-means has nearly as many centres as rows there.
"""

from __future__ import annotations

import torch

from bitmosaic.evaluate.mode import measuring
from bitmosaic.images import ArrayImages
from bitmosaic.media import PICTURES
from bitmosaic.quantizers import FrozenFeatures, FrozenFeaturesSpec, NearestSpec
from bitmosaic.systems.base import Results, Task, Verdict
from bitmosaic.systems.page import spread
from bitmosaic.systems.tokenizer_trials import CHUNK, TokenizerClaim, autoencoder, each, feature_net, setting
from bitmosaic.tokenizers.base import Tokenizer

STEPS, IMAGES = 600, 60_000
PLACES = 49  # of an image
FEATURES, WIDTH = 64, 8  # numbers of a feature and of a codeword
SMALL, LARGE = 16_384, 100_000  # codewords
LOOKED_AT = 6000  # training images whose features codewords are chosen from, 294,000 places
LLOYD = {SMALL: 5, LARGE: 1}  # steps of k-means by number of codewords
USED, UNUSED = 0.99, 0.30  # thresholds of the claim: use is at least this of features, below this of random codewords


class VQGANLCClaim(TokenizerClaim):
    """Use of features behind a projector, and of as many random codewords that are trained."""

    said = (
        "On ImageNet at 256 pixels 99.9 % of 100,000 codewords are used (f16, rFID 2.62), on FFHQ 99.5 % (rFID 3.81), where VQGAN uses "
        "2.3 % of 16,384."
    )
    tested = (
        f"{setting(STEPS)} Codewords have width {WIDTH}. Features are those of a small classifier of the same images, trained here "
        f"first and then frozen: centres of k-means class by class over the places of {LOOKED_AT:,} images, behind a linear projector. "
        "Random codewords begin uniform and are trained by themselves, with the same losses; noise, frozen behind a projector, tells the "
        f"projector's part from the features'. The claim counts as repeated where, with {SMALL:,} and with {LARGE:,} codewords and "
        f"every seed, at least {USED:.0%} of features are used by the {IMAGES:,} training images, and of random codewords less than "
        f"{UNUSED:.0%}."
    )
    specs = {
        **{f"features {k}": autoencoder(FrozenFeaturesSpec(k, WIDTH, FEATURES)) for k in (SMALL, LARGE)},
        **{f"random {k}": autoencoder(NearestSpec(k, WIDTH, 1.0, 0.33)) for k in (SMALL, LARGE)},
        f"projected noise {SMALL}": autoencoder(FrozenFeaturesSpec(SMALL, WIDTH, FEATURES)),
    }
    trials = (f"features {SMALL}", f"random {SMALL}", f"projected noise {SMALL}", f"features {LARGE}", f"random {LARGE}")
    decisive = tuple(f"{kind} {k}" for k in (SMALL, LARGE) for kind in ("features", "random"))
    seeds = 2
    steps = STEPS
    counted = IMAGES
    picture = "vqgan_lc.png"
    columns = {
        "used by the training images": ("used_in_training", "{:.1%}"), "by the test images": ("used", "{:.1%}"),
        "entropy, bits a place": ("entropy", "{:.1f}"), "PSNR, dB": ("psnr", "{:.2f}"), "SSIM": ("ssim", "{:.4f}"),
    }  # fmt: skip

    def prepare(self, task: Task, tokenizer: Tokenizer, train: ArrayImages) -> None:
        quantizer = tokenizer.quantizer
        if task.trial.startswith("features") and isinstance(quantizer, FrozenFeatures):
            count = max(task.some(LOOKED_AT), 2 * quantizer.spec.codewords // PLACES)  # a quick look has to fill the codebook too
            rows, classes = features_of(task, train, min(count, len(train)))
            rng = torch.Generator().manual_seed(task.seed)
            quantizer.learn(rows, classes, rng, LLOYD[quantizer.spec.codewords] if task.scale == 1 else 0)

    def verdict(self, results: Results) -> Verdict:
        ours, theirs = (
            [value for k in (SMALL, LARGE) for value in each(results[f"{kind} {k}"], "used_in_training")] for kind in ("features", "random")
        )
        used, unused = min(ours) >= USED, max(theirs) < UNUSED
        words = [
            f"of {k:,} features {of(results, f'features {k}')}, of random codewords {of(results, f'random {k}')}" for k in (SMALL, LARGE)
        ]
        judged = [
            f"{'at least' if used else 'not always at least'} {USED:.0%} of features",
            f"{'less' if unused else 'not always less'} than {UNUSED:.0%} of random codewords",
        ]
        return Verdict(used and unused, f"Used by the training images: {'; '.join(words)}. With every seed {' and '.join(judged)}.")


def of(results: Results, trial: str) -> str:
    """The use of a trial, in words."""
    return spread(each(results[trial], "used_in_training"), "{:.1%}")


def features_of(task: Task, train: ArrayImages, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the places of the first `count` training images, (n, FEATURES), and their classes, (n,)."""
    net, found = feature_net(task, train), []
    with measuring(net):
        for part in train.pixels[:count].split(CHUNK):
            found.append(net.maps(PICTURES.floats(part))[-1].flatten(2).movedim(1, -1).flatten(0, 1).clone())
    return torch.cat(found), train.labels[:count].repeat_interleave(PLACES)


CLAIM = VQGANLCClaim()
