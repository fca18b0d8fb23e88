"""A prior is trained on codes; with their tokenizer and a sampler it is the run's pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn

from bitmosaic.codec import ONE, SCALE_IMAGES, PriorCoder, StaticCoder
from bitmosaic.codes import Codes, described, digit_dtype
from bitmosaic.conditions import TextConditionSpec
from bitmosaic.images import background_of, to_uint8
from bitmosaic.media import PICTURES
from bitmosaic.names import plain
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.base import SamplerSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.train.code_store import CodeBatch, CodeBatches
from bitmosaic.train.pictures import class_sheet, draw_curves
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.processes import broadcast, by_first, is_first
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.sound import check_pipeline
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.training import Training

BACKGROUND_IMAGES = 64  # that are looked at for their background


@dataclass(frozen=True)
class PriorStage(Stage):
    """Makes "pipeline", of the tokenizer and what it has learned of the codes."""

    name, makes, files = "prior", ("pipeline",), ("pipeline",)

    prior: PriorSpec = MaskedPriorSpec()
    class_dropout: float = 0.1  # probability of the null class in training
    prior_training: Training = Training()
    sampler: SamplerSpec = EntropyOrderedSpec()  # the pipeline's default

    def __post_init__(self):
        if not 0 <= self.class_dropout <= 1:
            raise ValueError(f"class_dropout: got {self.class_dropout}; must be in [0, 1]")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("tokenizer", "codes")

    @property
    def training(self) -> Training:
        return self.prior_training

    def with_training(self, training: Training) -> PriorStage:
        return dataclasses.replace(self, prior_training=training)

    def check_run(self, run: Run) -> None:
        tokenizer, prior = run.tokenizer, self.prior
        if tokenizer.grid != prior.grid or tokenizer.radix != prior.radix:
            raise ValueError(
                f"tokenizer makes {tokenizer.grid} places, {described(tokenizer.radix)}; "
                f"prior wants {prior.grid}, {described(prior.radix)}"
            )
        if (run.shift > 0) != getattr(prior.condition, "shifted", False):
            raise ValueError(
                f"shift: got {run.shift}, and prior.condition.shifted {run.shift == 0}; shifted images and a class condition with "
                "shifted=True need each other"
            )

    def check(self, run: Run, source: Any) -> None:
        prior, given = self.prior, isinstance(source, Manifest)
        if given and (prior.grid, prior.radix) != (source.grid, source.radix):
            wanted = f"{prior.grid}, {described(prior.radix)}"
            raise ValueError(f"codes: {source.grid} places, {described(source.radix)}; the prior wants {wanted}")
        if isinstance(prior.condition, TextConditionSpec) and not source.captioned:
            raise ValueError(f"prior.condition: takes text, but the {'codes' if given else 'images'} have no captions; give --captions")
        wanted, found = getattr(prior.condition, "classes", 0), len(source.class_names)
        if wanted not in (0, found):
            raise ValueError(f"prior.condition.classes: got {wanted}, but the {'codes' if given else 'images'} have {found} classes")

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.files[0]
        if not broadcast(folder.exists()):
            training, codes = self.training, job.made["codes"]
            torch.manual_seed(training.seed)
            with torch.device("cpu" if is_first() or not training.sharded else "meta"):
                game = self.game(job.made)
            captions = codes.store.captions()
            game.players["prior"].condition.learn(captions)
            if training.recompute:
                game.recompute()
            if training.compile:
                game.compile()

            def pictures(averages: dict[str, nn.Module]) -> Image.Image:
                return class_sheet(self._pipeline(job, averages["prior"]), 4, prompts=captions[:: max(1, len(captions) // 8)][:8])

            batches = CodeBatches(codes.store, training.part_size, training.seed, codes.order)
            state = play_stage(job.out / self.name, self.name, game, batches, training, pictures, device=job.device, board=job.board)
            prior = averaged(state, "prior")
            by_first(lambda: self._keep(job, prior))
        return {"pipeline": Pipeline.from_pretrained(folder)}

    def _pipeline(self, job: Job, prior: nn.Module) -> Pipeline:
        names = job.source.class_names if getattr(self.prior.condition, "classes", 0) else ()  # a prior may leave the classes aside
        return Pipeline(job.made["tokenizer"], prior.to(job.device), self.sampler, names)

    def _keep(self, job: Job, prior: nn.Module) -> None:
        """Writes the pipeline, with what its coder has to know of the codes."""
        codes, folder = job.made["codes"], job.out / self.files[0]
        codes.verify()
        made = self._pipeline(job, prior)
        check_pipeline(made, self.training.steps, codes.store)
        draw_curves(job.out, self.name, f"{job.run.name}: prior", job.say)
        if made.medium == PICTURES:
            made.background = background_of(to_uint8(made.decode(codes.store.some(BACKGROUND_IMAGES), "pt")))
        made.static = StaticCoder.fit(codes.store.all())
        if prior.family != "denoising":
            made.logit_scale = PriorCoder.fit(prior.cpu(), codes.store.some(SCALE_IMAGES)).scale
            fitted = min(SCALE_IMAGES, len(codes.store))
            job.say(f"compress: the prior's logits times {made.logit_scale / ONE:g}, fitted to {fitted} images")
        made.save_pretrained(folder)
        job.say(plain(f"pipeline: {folder}"))

    def about(self) -> tuple[str, ...]:
        prior = self.prior
        places = f"{'x'.join(map(str, prior.grid))} places, {described(prior.radix)}"
        return places, f"{type(prior).__name__.removesuffix('Spec')} {prior.depth} x {prior.width}"

    def game(self, made: Mapping[str, Any]) -> PriorGame:
        return PriorGame(self.prior.build(), self.class_dropout)

    def batch(self, run: Run, images: int) -> CodeBatch:
        prior = self.prior
        digits = torch.zeros(images, *prior.grid, len(prior.radix), dtype=digit_dtype(prior.radix))
        return CodeBatch(Codes(digits, prior.radix), torch.zeros(images, dtype=torch.long), ("",) * images)
