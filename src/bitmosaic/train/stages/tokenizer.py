"""A tokenizer is trained on images, or comes with the codes that 'bitmosaic tokenize' made with it; then images become codes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import load_part, read_json, save_part, write_json, written_beside
from bitmosaic.images import Batch, Batches, blank_images, in_order, some_images
from bitmosaic.images.shift import shifting
from bitmosaic.media import PICTURES
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.quantizers import FrozenFeatures
from bitmosaic.tokenizers import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.tokenizers.jpeg_bytes import JPEGBytesSpec
from bitmosaic.train.code_store import images_at_once
from bitmosaic.train.loop import step_generator
from bitmosaic.train.pictures import draw_curves, reconstructions
from bitmosaic.train.processes import broadcast, by_first
from bitmosaic.train.progress import ProgressBar
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.sealed import check, seal
from bitmosaic.train.sound import check_decodes
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.stages.features import check_whole
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

LOOKED_AT = 5000  # images of the report
PLACES = 64  # of each of these images, whose features may become codewords


@dataclass(frozen=True)
class TokenizerStage(Stage):
    """Makes "tokenizer"."""

    name, makes, files, pictured = "tokenizer", ("tokenizer",), ("tokenizer/final",), "Reconstructions"

    tokenizer: TokenizerSpec = BinaryAutoencoderSpec()
    tokenizer_losses: TokenizerLosses = TokenizerLosses()
    tokenizer_training: Training = Training()

    @property
    def needs(self) -> tuple[str, ...]:
        return ("features",) if self.tokenizer_losses.asks_features else ()

    @property
    def training(self) -> Training:
        return self.tokenizer_training

    def with_training(self, training: Training) -> TokenizerStage:
        return dataclasses.replace(self, tokenizer_training=training)

    def check_run(self, run: Run) -> None:
        check_whole(self.training)

    def check(self, run: Run, source: Any) -> None:
        spec, discriminator = self.tokenizer, self.tokenizer_losses.discriminator
        fit(spec, source)
        if discriminator is not None and discriminator.channels != source.channels:
            raise ValueError(f"discriminator.channels: got {discriminator.channels}, but the images have {source.channels}")

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.files[0]
        if broadcast(folder.exists()):
            by_first(lambda: check(folder, f"remove {folder}, and the same command makes it anew from the last checkpoint"))
        else:
            training, images = self.training, job.images
            torch.manual_seed(training.seed)
            game = self.game(job.made)
            self._learn_features(job, game)
            if training.compile:
                game.compile()
            batches = Batches(images, training.part_size, training.seed, job.run.flip, shifting(images, job.run.shift))
            shown = self.tokenizer.medium.floats(some_images(images, 32)).to(job.device)

            def pictures(averages: dict[str, nn.Module]) -> Image.Image:
                return reconstructions(averages["tokenizer"], shown)

            state = play_stage(job.out / self.name, self.name, game, batches, training, pictures, images, job.device, job.board)
            by_first(lambda: self._keep(job, averaged(state, "tokenizer")))
        return {"tokenizer": load_part(folder, Tokenizer).to(job.device)}

    def _learn_features(self, job: Job, game: TokenizerGame) -> None:
        """Gives a quantizer whose codewords are features those of the run's feature network, where there is one; before the first step."""
        features = job.made.get("features")
        quantizers = [module for module in game.players["tokenizer"].modules() if isinstance(module, FrozenFeatures)]  # also inside others
        if not quantizers:
            return
        if features is None or not hasattr(features, "maps"):
            job.say(f"{self.name}: no feature network, so the features behind the codewords are random; --perceptual FILE gives one")
            return
        rng, classes, found = step_generator(self.training.seed, 0, part=2), [], []
        for batch in itertools.islice(in_order(job.images, 250), -(-LOOKED_AT // 250)):
            with torch.inference_mode():
                last = features.maps(self.tokenizer.medium.floats(batch.images.to(job.device)))[-1].cpu()
            places = last.flatten(2).movedim(1, -1)  # (b, places, features), of which some are taken, so that memory is bounded
            found.append(places[:, torch.randperm(places.shape[1], generator=rng)[:PLACES]].flatten(0, 1))
            if batch.labels is not None:
                classes.append(batch.labels.repeat_interleave(len(found[-1]) // len(batch.images)))
        for quantizer in quantizers:
            quantizer.learn(torch.cat(found), torch.cat(classes) if classes else None, rng)

    def _keep(self, job: Job, tokenizer: Tokenizer) -> None:
        """Measures and writes a tokenizer that has been trained, with checksums."""
        images, folder = job.images, job.out / self.name
        check_decodes(tokenizer, self.training.steps, tokenizer.medium.floats(some_images(images, 8)))
        with ProgressBar("report", min(LOOKED_AT, len(images)), "image") as shown:
            report = reconstruction_report(tokenizer, images, images_at_once(images.size), limit=LOOKED_AT, on_batch=shown.update)
        job.say(report.text())
        draw_curves(job.out, self.name, f"{job.run.name}: tokenizer", job.say)
        write_json(folder / "report.json", report.to_json())
        keep(tokenizer, self.tokenizer, job.out / self.files[0])

    def report(self, out: Path) -> tuple[str, Any] | None:
        path = out / self.name / "report.json"
        return ("reconstruction", read_report(path)) if path.exists() else None

    def about(self) -> tuple[str, ...]:
        return (self.tokenizer.medium.about(self.tokenizer.size),)

    def remarks(self) -> tuple[str, ...]:
        start, steps = self.tokenizer_losses.adversarial_start, self.training.steps
        if self.tokenizer_losses.discriminator is None or start < steps:
            return ()
        return (f"no PatchGAN in play: it would begin at step {start} of {steps} (--tokenizer-losses.adversarial-start)",)

    def game(self, made: Mapping[str, Any]) -> TokenizerGame:
        features, losses = made.get("features"), self.tokenizer_losses
        if features is None:  # of a plan where it lies in a file, or where there is none
            losses = dataclasses.replace(losses, perceptual_weight=0.0, representation=())
        return TokenizerGame(self.tokenizer.build(), losses, features)

    def batch(self, run: Run, images: int) -> Batch:
        return blank_images(images, self.tokenizer.channels, self.tokenizer.size, self.tokenizer.medium.stored)


@dataclass(frozen=True)
class FixedTokenizerStage(Stage):
    """Makes "tokenizer" of one that has nothing to learn, such as the bytes of JPEG."""

    name, makes, files = "tokenizer", ("tokenizer",), ("tokenizer/final",)

    tokenizer: TokenizerSpec = JPEGBytesSpec()

    def check(self, run: Run, source: Any) -> None:
        fit(self.tokenizer, source)
        with torch.device("meta"):
            weights = parameters_of(self.tokenizer.build())
        if weights:
            raise ValueError(f"tokenizer: a {type(self.tokenizer).__name__} has {weights:,} weights, which a TokenizerStage trains")

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.files[0]
        if broadcast(folder.exists()):
            by_first(lambda: check(folder, f"remove {folder}, and the same command makes it anew"))
        else:
            by_first(lambda: keep(self.tokenizer.build(), self.tokenizer, folder))
        return {"tokenizer": load_part(folder, Tokenizer).to(job.device)}

    def about(self) -> tuple[str, ...]:
        return (self.tokenizer.medium.about(self.tokenizer.size),)


def keep(tokenizer: Tokenizer, spec: TokenizerSpec, folder: Path) -> None:
    """Writes a tokenizer with its checksums, whole or not at all."""
    with written_beside(folder) as beside:
        save_part(tokenizer, spec, beside)
        seal(beside)


def fit(spec: TokenizerSpec, source: Any) -> None:
    """ValueError where a set of signals is of another medium, size or number of channels than a tokenizer's."""
    if (source.medium or PICTURES) != spec.medium:
        raise ValueError(f"a tokenizer of {spec.medium.to_json()} does not fit data of {(source.medium or PICTURES).to_json()}")
    if tuple(source.size) != spec.size or source.channels != spec.channels:
        raise ValueError(
            f"{spec.medium.plural} of {tuple(source.size)} with {source.channels} channels do not fit a tokenizer of {spec.size} "
            f"with {spec.channels}"
        )


def read_report(path: Path) -> dict[str, Any]:
    """What a tokenizer's report.json says. ValueError where it is no such thing."""
    found = read_json(path)
    try:
        numbers = [found["psnr"], found["count"], *([] if found["ssim"] is None else [found["ssim"]])]
        if found["bits"] is not None:
            entropies = found["bits"]["entropy"]
            numbers += [entropies[0], *entropies, *found["bits"]["dead"]]
        fits = all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers)
    except (KeyError, IndexError, TypeError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"{path} is no report of a tokenizer as training writes it; remove it, or put back what was there")
    return found
