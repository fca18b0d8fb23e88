"""The claim of VQGAN (arXiv 2012.09841, section 3.1): perceptual and adversarial losses keep reconstructions realistic with few codes.

We differ in data (Fashion-MNIST for ImageNet), in sizes, and in the perceptual distance, which is over a classifier trained here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitmosaic.evaluate.reconstruction import compare, report_of
from bitmosaic.images import Batches, fashion_sample
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.quantizers import NearestSpec
from bitmosaic.systems.base import Claim, Results, Task, Verdict
from bitmosaic.systems.judge import Judge, judge_of
from bitmosaic.systems.page import figures_table, spread
from bitmosaic.systems.pictures import keep_row, picture_of
from bitmosaic.systems.tokenizer_trials import feature_net
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

STEPS, BATCH = 400, 32
IMAGES, SHOWN = 5000, 10  # test images that are reconstructed, and those on the page
CODEWORDS = 256


class VQGANClaim(Claim):
    """The distance of reconstructions from real images, with L1 alone and with VQGAN's two further losses."""

    said = (
        "An autoencoder of few codes needs more than a distance of pixels: with a perceptual distance and a PatchGAN, reconstructions keep "
        "their realism at a rate at which L2 alone gives blurred ones (section 3.1). On ImageNet such codes, 16 x 16 of 16,384, have an "
        "rFID of 4.98 on the validation images, where VQ-VAE-2, with twenty times as many codes, has about 10."
    )
    tested = (
        f"The same autoencoder (28 x 28 grey to 7 x 7 places, nearest of {CODEWORDS} codewords) is trained for {STEPS:,} steps of {BATCH} "
        "images of Fashion-MNIST, by L1 alone, and by L1, a perceptual distance over a small classifier trained here first, and from half "
        f"of the steps on a PatchGAN. The first {IMAGES:,} test images are reconstructed and held against themselves: a Frechet distance "
        "in the space of the classifier that ships, which no training here sees; no FID. The claim counts as repeated where, with every "
        "seed, that distance is lower with the two losses than without. PSNR may fall."
    )
    trials = ("L1 alone", "perceptual and adversarial")
    seeds = 2

    def measure(self, task: Task, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        judge, steps = _judge(task), task.some(STEPS, 2)
        training = Training(
            steps=steps, batch_size=BATCH, learning_rate=1e-3, warmup_steps=task.some(40), decay="cosine", betas=(0.5, 0.95),
            ema_decay=0.98, precision="auto", seed=task.seed, pictures_every=10**6,
        )  # fmt: skip
        losses, features = TokenizerLosses(), None
        if task.trial != "L1 alone":
            features = feature_net(task, judge.train)
            losses = TokenizerLosses(
                perceptual_weight=0.1, discriminator=PatchGANSpec(channels=1, width=32, layers=3), adversarial_start=steps // 2,
                adversarial_weight=0.5, discriminator_lead=steps // 8, discriminator_rate=0.4, diffaugment=False,
            )  # fmt: skip
        torch.manual_seed(task.seed)  # weights; every other draw has its own generator
        spec = VQGANSpec((28, 28), 1, NearestSpec(CODEWORDS, 16), 16, (1, 2, 2), 1, (), 64, 8)
        game = TokenizerGame(spec.build(), losses, features)
        state = play_stage(task.own, task.trial, game, Batches(judge.train, BATCH, task.seed), training)
        tokenizer, made, parts = averaged(state, "tokenizer"), [], []
        with torch.no_grad():
            for given in judge.test.pixels.split(250):
                images, part = compare(tokenizer, given)
                made.append(images)
                parts.append(part)
        report, pixels = report_of(tokenizer, parts), torch.cat(made)
        assert report.codebook is not None
        keep_row(task, pixels[:SHOWN].float() / 255)
        yield {
            "frechet": judge.distance(pixels), "psnr": report.psnr, "ssim": report.ssim, "l1": report.l1, "used": report.codebook.used,
            "sharpness": sharpness(pixels),
        }  # fmt: skip

    def floors(self, task: Task) -> dict[str, float]:
        judge = _judge(task)
        return {"Frechet distance of as many training images": judge.floor, "sharpness of the test images": sharpness(judge.test.pixels)}

    def verdict(self, results: Results) -> Verdict:
        alone, both = (results[trial] for trial in self.trials)
        holds = max(r["frechet"] for r in both) < min(r["frechet"] for r in alone)
        return Verdict(
            holds,
            f"With the two losses reconstructions are {spread([r['frechet'] for r in both], '{:.2f}')} from the images, by L1 alone "
            f"{spread([r['frechet'] for r in alone], '{:.2f}')}: {'lower' if holds else 'not lower'} with every seed. PSNR is "
            f"{spread([r['psnr'] for r in both], '{:.2f}')} dB beside {spread([r['psnr'] for r in alone], '{:.2f}')} dB.",
        )

    def sections(self, results: Results, out: Path) -> list[str]:
        given = fashion_sample().pixels[:SHOWN].float() / 255
        alt = "test images, and what each training keeps of them"
        return [
            figures_table("trained by", results, COLUMNS),
            "Sharpness is the mean absolute difference of neighbouring pixels, of 255.",
            *picture_of(out, "vqgan.png", self.trials, alt, {"given": given}),
        ]


COLUMNS = {
    "Frechet distance": ("frechet", "{:.2f}"), "PSNR, dB": ("psnr", "{:.2f}"), "SSIM": ("ssim", "{:.4f}"),
    "sharpness": ("sharpness", "{:.2f}"), "codewords used": ("used", "{:.0f}"),
}  # fmt: skip


def sharpness(pixels: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of uint8 images (n, C, H, W), in grey levels, [0, 255]."""
    x = pixels.float()
    return float((x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()) / 2)


def _judge(task: Task) -> Judge:
    count = task.some(IMAGES, 50)
    return judge_of(count, task.data, count)


CLAIM = VQGANClaim()
