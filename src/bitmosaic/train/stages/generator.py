"""A generator is trained against a discriminator on images; its average is the run's pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn

from bitmosaic.generators import DCGANSpec, Generator, GeneratorSpec
from bitmosaic.images import Batch, Batches, background_of, blank_images, some_images, to_uint8
from bitmosaic.names import plain
from bitmosaic.nets.discriminators.base import DiscriminatorSpec
from bitmosaic.nets.discriminators.deep_conv import DeepConvDiscriminatorSpec
from bitmosaic.pipelines import GeneratorPipeline, NoiseSpec
from bitmosaic.train.adversarial_game import AdversarialGame, AdversarialLosses
from bitmosaic.train.pictures import class_sheet, draw_curves
from bitmosaic.train.processes import broadcast, by_first
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.stages.features import check_whole
from bitmosaic.train.training import AdversarialTraining

BACKGROUND_IMAGES = 64  # that are looked at for their background


@dataclass(frozen=True)
class GeneratorStage(Stage):
    """Makes "pipeline"."""

    name, makes, files = "generator", ("pipeline",), ("pipeline",)

    generator: GeneratorSpec = DCGANSpec()
    discriminator: DiscriminatorSpec = DeepConvDiscriminatorSpec()
    generator_losses: AdversarialLosses = AdversarialLosses()
    generator_training: AdversarialTraining = AdversarialTraining()
    noise: NoiseSpec = NoiseSpec()  # the pipeline's default

    @property
    def training(self) -> AdversarialTraining:
        return self.generator_training

    def with_training(self, training: AdversarialTraining) -> GeneratorStage:
        return dataclasses.replace(self, generator_training=training)

    def check_run(self, run: Run) -> None:
        check_whole(self.training)
        generator, discriminator = self.generator, self.discriminator
        made = tuple(generator.image_size), generator.channels, getattr(generator.condition, "classes", 0)
        if made != (tuple(discriminator.image_size), discriminator.channels, discriminator.classes):
            raise ValueError(
                f"discriminator: judges {discriminator.image_size}, {discriminator.channels} channels, {discriminator.classes} classes; "
                f"the generator makes {made[0]}, {made[1]} channels, {made[2]} classes"
            )

    def check(self, run: Run, source: Any) -> None:
        spec, classes = self.generator, getattr(self.generator.condition, "classes", 0)
        if tuple(source.size) != tuple(spec.image_size) or source.channels != spec.channels:
            raise ValueError(
                f"images of {source.size} with {source.channels} channels do not fit a generator of {spec.image_size} with {spec.channels}"
            )
        if classes not in (0, len(source.class_names)):
            raise ValueError(f"generator.condition.classes: got {classes}, but the images have {len(source.class_names)} classes")

    def game(self, made: Mapping[str, Any]) -> AdversarialGame:
        return AdversarialGame(self.generator.build(), self.discriminator.build(), self.generator_losses)

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.files[0]
        if not broadcast(folder.exists()):
            training, images = self.training, job.images
            torch.manual_seed(training.seed)  # weights only; every other draw has its own generator
            game = self.game(job.made)
            if training.compile:
                game.compile()

            def pictures(averages: dict[str, nn.Module]) -> Image.Image:
                return class_sheet(self._pipeline(job, averages["generator"]), 8)

            batches = Batches(images, training.part_size, training.seed, job.run.flip)
            state = play_stage(job.out / self.name, self.name, game, batches, training, pictures, images, job.device, job.board)
            generator = averaged(state, "generator")
            by_first(lambda: self._keep(job, generator))
        return {"pipeline": GeneratorPipeline.from_pretrained(folder)}

    def _pipeline(self, job: Job, generator: Generator) -> GeneratorPipeline:
        names = job.images.class_names if generator.classes else ()  # a generator may leave the classes aside
        return GeneratorPipeline(generator.to(job.device), self.noise, names)

    def _keep(self, job: Job, generator: Generator) -> None:
        made, folder = self._pipeline(job, generator), job.out / self.files[0]
        if not made(seeds=range(8), output_type="pt").isfinite().all():
            steps = f"{self.training.steps:,}"
            raise ValueError(f"generator: after {steps} steps it gives no finite numbers; train anew with a lower learning rate")
        draw_curves(job.out, self.name, f"{job.run.name}: generator", job.say)
        made.background = background_of(to_uint8(some_images(job.images, BACKGROUND_IMAGES)))
        made.save_pretrained(folder)
        job.say(plain(f"pipeline: {folder}"))

    def about(self) -> tuple[str, ...]:
        spec = self.generator
        return f"{'x'.join(map(str, spec.image_size))} pixels", f"{type(spec).__name__.removesuffix('Spec')} of {spec.latent} numbers"

    def batch(self, run: Run, images: int) -> Batch:
        return blank_images(images, self.generator.channels, self.generator.image_size)
