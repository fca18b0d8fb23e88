"""Codes that a prior learns from: of all images by the run's own tokenizer, computed once, or given by 'bitmosaic tokenize'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bitmosaic.folders import load_part
from bitmosaic.images import epoch_order
from bitmosaic.tokenizers import Tokenizer, TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.code_store import CodeStore, write_codes
from bitmosaic.train.processes import by_first
from bitmosaic.train.progress import ProgressBar
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.sealed import check
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.sound import check_codes_seal


@dataclass(frozen=True)
class TrainingCodes:
    """Codes and the order in which an epoch visits them (see `CodeBatches`).

    verify: raises ValueError where the codes, or the tokenizer that made them, are no longer what they were.
    """

    store: CodeStore
    order: Callable[[int, int, int], Any]
    verify: Callable[[], object]


@dataclass(frozen=True)
class CodesStage(Stage):
    """Makes "codes" of all images."""

    name, makes, files = "codes", ("codes",), ("codes",)

    code_draws: int = 1  # codes kept of each image, where a tokenizer draws them (mirrored ones in turn where flip is on)

    def __post_init__(self):
        if self.code_draws < 1:
            raise ValueError(f"code_draws: got {self.code_draws}; must be at least 1")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("tokenizer",)

    def play(self, job: Job) -> dict[str, Any]:
        folder = job.out / self.name
        by_first(lambda: check_codes_seal(folder) if folder.exists() else self._compute(job))
        return {"codes": TrainingCodes(CodeStore.of_run(folder), epoch_order, partial(self._verify, job))}

    def _compute(self, job: Job) -> None:
        """Computes and writes the codes of all images; ImagesGone where some that were there are gone."""
        images, seed = job.images, next(stage.training.seed for stage in reversed(job.run.stages) if stage.training)
        images.check_there()
        with ProgressBar("codes", len(images), "image") as shown:
            for done in write_codes(
                job.made["tokenizer"], images, job.out / self.name, self.code_draws, job.run.flip, seed, job.run.shift
            ):
                shown.update(done - shown.done)
        if images.unreadable:
            job.say(f"codes: {images.unreadable_summary()}")

    def _verify(self, job: Job) -> None:
        check(job.out / "tokenizer" / "final", "begin anew in another folder")
        check_codes_seal(job.out / self.name)


@dataclass(frozen=True)
class GivenCodesStage(Stage):
    """Makes "tokenizer" and "codes" of a folder that 'bitmosaic tokenize' wrote; every file is read once against its checksum."""

    name, makes = "codes", ("tokenizer", "codes")

    tokenizer: TokenizerSpec = BinaryAutoencoderSpec()  # that made them
    code_draws: int = 1  # codes of each image

    def check(self, run: Run, source: Any) -> None:
        if not source.about["images"]:
            raise ValueError(f"codes: {source.folder} holds no image; its manifest.json says what was wrong with those there were")
        by_first(source.verify)

    def play(self, job: Job) -> dict[str, Any]:
        codes = job.source
        tokenizer = load_part(codes.folder / "tokenizer", Tokenizer).to(job.device)
        if tokenizer.spec != self.tokenizer:
            raise ValueError(f"tokenizer: the one that made {codes.folder} has other sizes; leave its fields as they are")
        return {"tokenizer": tokenizer, "codes": TrainingCodes(codes.store(), Shuffle, codes.verify)}

    def about(self) -> tuple[str, ...]:
        return (self.tokenizer.medium.about(self.tokenizer.size),)
