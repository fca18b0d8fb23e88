"""Shared by claims about quantizers: for each trial one tokenizer of Fashion-MNIST, by L1 and the quantizer's own losses alone.

`autoencoder` is a small VQ-VAE's (van den Oord et al., arXiv 1711.00937) around any quantizer. Perceptual and adversarial parts are left
out, since what is compared is the quantizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.reconstruction import likeness
from bitmosaic.images import ArrayImages, Batches, ImageSet, fashion_mnist, fashion_sample
from bitmosaic.media import PICTURES
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.quantizers import QuantizerSpec
from bitmosaic.systems.base import Claim, Results, Task
from bitmosaic.systems.page import figures_table
from bitmosaic.systems.pictures import keep_row, picture_of
from bitmosaic.tokenizers.base import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.vqvae import VQVAESpec
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

BATCH = 32  # images of a training step
FEATURE_STEPS = 250  # of a feature network
TEST, SHOWN, CHUNK = 10_000, 10, 250  # test images, those on the page, and those in memory at once


def autoencoder(quantizer: QuantizerSpec, width: int = 32) -> VQVAESpec:
    """28 x 28 grey pixels to 7 x 7 places."""
    return VQVAESpec(PICTURES, (28, 28), 1, (4, 4), quantizer, width, 1)


class TokenizerClaim(Claim):
    """A claim about quantizers: each trial is a tokenizer, trained alike and measured on the test images."""

    specs: Mapping[str, TokenizerSpec]  # by trial
    steps: int  # of training
    learning_rate = 2e-3
    picture: str  # name of the file with the pictures, a row for each trial
    columns: Mapping[str, tuple[str, str]]  # of the page's table, as of `figures_table`
    counted = 0  # training images over which use is counted too, at most 60,000; 0: none

    def prepare(self, task: Task, tokenizer: Tokenizer, train: ArrayImages) -> None:
        """What a tokenizer is given before its first step."""

    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        train, test = fashion_mnist(task.data or None), fashion_sample()
        tokenizer = self.trained(task, train)
        if "psnr" not in known:
            given = test.pixels[: task.some(TEST, 50)]
            made, codes = kept(tokenizer, given)
            keep_row(task, made[:SHOWN].float() / 255)
            yield {**fidelity(given, made), **use(codes), **self.further(tokenizer, codes)}
        if self.counted:
            yield {"used_in_training": use(codes_of(tokenizer, train.pixels[: task.some(self.counted, 50)]))["used"]}

    def further(self, tokenizer: Tokenizer, codes: Codes) -> dict[str, float]:
        """More figures, of the codes of the test images."""
        return {}

    def trained(self, task: Task, train: ArrayImages) -> Tokenizer:
        """The averaged tokenizer of a trial, trained or resumed."""
        training = Training(
            steps=task.some(self.steps, 2), batch_size=BATCH, learning_rate=self.learning_rate, warmup_steps=task.some(self.steps // 10),
            decay="cosine", betas=(0.5, 0.95), ema_decay=0.98, precision="auto", seed=task.seed, pictures_every=10**6,
        )  # fmt: skip
        torch.manual_seed(task.seed)  # weights; every other draw has its own generator
        game = TokenizerGame(self.specs[task.trial].build(), TokenizerLosses(squared_weight=4.0))
        self.prepare(task, game.players["tokenizer"], train)
        state = play_stage(task.own, task.trial, game, Batches(train, BATCH, task.seed), training)
        return averaged(state, "tokenizer")

    def sections(self, results: Results, out: Path) -> list[str]:
        given = fashion_sample().pixels[:SHOWN].float() / 255
        alt = "test images, and what each tokenizer keeps of them"
        return [figures_table("codes", results, self.columns), *picture_of(out, self.picture, self.trials, alt, {"given": given})]


def setting(steps: int) -> str:
    """The setting that all such claims share, in words."""
    return (
        f"Tokenizers of Fashion-MNIST, 28 x 28 grey pixels to 7 x 7 places, are trained alike for {steps:,} steps of {BATCH} images by L1, "
        f"squared error and the quantizer's own losses, and measured on the {TEST:,} test images; use is the share of codewords that these "
        "take at all."
    )


def feature_net(task: Task, train: ImageSet) -> nn.Module:
    """A frozen classifier of the training images with `maps(images)`, of 64 channels at 7 x 7, trained once for the experiment."""
    with task.lock("features"):
        training = Training(
            steps=task.some(FEATURE_STEPS, 2), batch_size=128, learning_rate=2e-3, warmup_steps=task.some(25), decay="cosine",
            weight_decay=1e-2, ema_decay=0.95, precision="auto", pictures_every=10**6,
        )  # fmt: skip
        torch.manual_seed(0)
        game = ClassifierGame(ConvClassifierSpec(channels=1, classes=10, widths=(16, 32, 64)).build())
        state = play_stage(task.folder / "features", "features", game, Batches(train, 128, 0), training)
        return averaged(state, "classifier").requires_grad_(False)


@torch.no_grad()
def kept(tokenizer: Tokenizer, pixels: Tensor) -> tuple[Tensor, Codes]:
    """Reconstructions of uint8 images (n, C, H, W), stored likewise, and their codes."""
    codes = codes_of(tokenizer, pixels)
    with measuring(tokenizer):
        made = [PICTURES.integers(tokenizer.decode(Codes(part, codes.radix))) for part in codes.digits.split(CHUNK)]
    return torch.cat(made), codes


@torch.no_grad()
def codes_of(tokenizer: Tokenizer, pixels: Tensor) -> Codes:
    """The codes of uint8 images (n, C, H, W)."""
    with measuring(tokenizer):
        parts = [tokenizer.encode(PICTURES.floats(part)).digits for part in pixels.split(CHUNK)]
    return Codes(torch.cat(parts), tokenizer.radix)


def fidelity(given: Tensor, made: Tensor) -> dict[str, float]:
    """Means over uint8 images (n, C, H, W): PSNR in dB, SSIM, and the squared error of pixels in [0, 1]."""
    parts = [likeness(*pair) for pair in zip(given.split(CHUNK), made.split(CHUNK), strict=True)]
    psnr, ssim = (float(torch.cat([part[i] for part in parts]).double().mean()) for i in (0, 1))
    squares = [((a.float() - b.float()) / 255).square().sum() for a, b in zip(given.split(CHUNK), made.split(CHUNK), strict=True)]
    return {"psnr": psnr, "ssim": ssim, "squared_error": float(sum(squares)) / given.numel()}


def use(codes: Codes) -> dict[str, float]:
    """Use of the values of each digit over all places: the share taken at all, of the digit of least use ("used"), and the sum of the
    digits' entropies ("entropy"), in bits a place, at most the logarithm of the number of codes.
    """
    used, entropy = [], 0.0
    for digit, radix in zip(codes.digits.flatten(0, -2).unbind(-1), codes.radix, strict=True):
        counts = torch.bincount(digit.long(), minlength=radix)
        used.append(float((counts > 0).double().mean()))
        entropy += float(torch.special.entr(counts.double() / counts.sum()).sum()) / math.log(2)
    return {"used": min(used), "entropy": entropy}


def each(results: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A figure of a trial, one value for each seed."""
    return [result[name] for result in results]


def gains(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> list[float]:
    """By how many dB of PSNR the first trial is above the second, one value for each seed that both have."""
    return [a - b for a, b in zip(each(ours, "psnr"), each(theirs, "psnr"), strict=False)]
