"""A prior is trained on codes; with their tokenizer and a sampler it is the run's pipeline."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from bitmosaic.codec import ONE, SCALE_IMAGES, PriorCoder, StaticCoder
from bitmosaic.codes import described
from bitmosaic.conditions import TextConditionSpec
from bitmosaic.images import background_of, to_uint8
from bitmosaic.media import PICTURES
from bitmosaic.names import plain
from bitmosaic.nets.precision import resolve
from bitmosaic.pipelines import Pipeline
from bitmosaic.priors.base import Prior, PriorSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.base import SamplerSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.train.code_store import CodeBatches
from bitmosaic.train.cost import Cost, count, operations
from bitmosaic.train.pictures import class_sheet, draw_curves
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.processes import by_first, first, told
from bitmosaic.train.rehearsal import most_bytes
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.sound import check_pipeline
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.training import Training

BACKGROUND_IMAGES = 64  # that are looked at for their background
HIDDEN = 2 / math.pi  # share of places that is hidden, on average, at ratios cos(pi/2 u)


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

    def check(self, run: Run, source: Any) -> None:
        prior, given = self.prior, isinstance(source, Manifest)
        if given and (prior.grid, prior.radix) != (source.grid, source.radix):
            wanted = f"{prior.grid}, {described(prior.radix)}"
            raise ValueError(f"codes: {source.grid} places, {described(source.radix)}; the prior wants {wanted}")
        if isinstance(prior.condition, TextConditionSpec) and not source.captioned:
            raise ValueError(f"prior.condition: told by text, but the {'codes' if given else 'images'} have no captions; give --captions")
        wanted, found = getattr(prior.condition, "classes", 0), len(source.class_names)
        if wanted not in (0, found):
            raise ValueError(f"prior.condition.classes: got {wanted}, but the {'codes' if given else 'images'} have {found} classes")

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.files[0]
        if not told(folder.exists()):
            training, codes = self.training, job.made["codes"]
            torch.manual_seed(training.seed)
            with torch.device("cpu" if first() or not training.sharded else "meta"):
                game = PriorGame(self.prior.build(), self.class_dropout)
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

    def costs(self, run: Run, device: str) -> Iterator[Cost]:
        yield prior_cost(self.prior, self.training, device)


def prior_cost(spec: PriorSpec, training: Training, device: str = "cuda") -> Cost:
    """Of a prior, with the arithmetic of `device`."""
    with torch.device("meta"):
        prior, low = spec.build(), spec.build().to(torch.bfloat16)  # the latter as FSDP2 has it

    @functools.cache
    def step(images: int, sharded: bool, recompute: bool, gradients: bool) -> int:
        module = low if sharded and resolve(training.precision, device) == "bf16" else prior
        _set(module, recompute)
        return most_bytes([module], prior_step(module, images), training.precision, device, gradients)

    flops = []
    for recompute in (False, True):
        _set(prior, recompute)
        flops.append(operations([prior], prior_step(prior, 1)))
    bits = sum((r - 1).bit_length() for r in prior.radix)
    return Cost(
        "prior", training, device, count(prior), count(prior.blocks[0]), count(prior) - count(prior.blocks), *flops,
        math.prod(prior.grid) * bits // 8, step,
    )  # fmt: skip


def prior_step(prior: Prior, images: int) -> Callable[[], Tensor]:
    """A prior's forward pass; where it has a head, that is asked of as many places as are hidden at the mean."""
    places = math.prod(prior.grid)
    asked = images * (places if prior.family == "causal" else round(HIDDEN * places))
    rng = [torch.Generator()] if getattr(prior.spec, "dropout", 0.0) else []  # what is dropped is kept for the backward pass

    def forward() -> Tensor:
        with torch.device("meta"):
            if prior.family == "denoising":
                return prior.logits(torch.empty(images, places, dtype=torch.long), torch.empty(images), prior.embed(None, images))
            digits = torch.empty(images, places, len(prior.radix), dtype=torch.uint8)
            context = prior.context(digits, torch.empty(images, places, dtype=torch.bool), prior.embed(None, images), *rng)
            which = torch.empty(asked, dtype=torch.long)
            return prior.head.once(digits.flatten(0, 1)[which], context.flatten(0, 1)[which])

    return forward


def _set(prior: Prior, recompute: bool) -> None:
    for block in prior.blocks:
        block.recompute = recompute
