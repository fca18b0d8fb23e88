"""The feature network of a perceptual distance: a classifier trained first on the run's own images, or one in a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitmosaic.disk import checksum
from bitmosaic.folders import write_json
from bitmosaic.images import Batch, Batches, ImageSet, blank_images
from bitmosaic.names import plain
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.spec import Spec
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.pictures import draw_curves
from bitmosaic.train.processes import broadcast, by_first
from bitmosaic.train.run import Job, Run, Stage
from bitmosaic.train.sealed import CHECKSUMS
from bitmosaic.train.sound import check_features_seal
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.training import Training, TrainingSpec

FILE = "features.safetensors"


@dataclass(frozen=True)
class TrainedFeatures(Spec):
    """A classifier trained first on the run's own images and labels, for the perceptual distance."""

    net: ConvClassifierSpec = ConvClassifierSpec()
    training: Training = Training()


@dataclass(frozen=True)
class FileFeatures(Spec):
    """A feature network in a local file (.safetensors with its spec inside, or .pt2)."""

    path: str = ""


@dataclass(frozen=True)
class FeaturesStage(Stage):
    """Makes "features", a frozen network with `maps(images)`."""

    name, makes, files = "features", ("features",), (FILE,)

    features: TrainedFeatures | FileFeatures = TrainedFeatures()  # the network of the perceptual distance

    @property
    def training(self) -> TrainingSpec | None:
        return self.features.training if isinstance(self.features, TrainedFeatures) else None

    def with_training(self, training: Training) -> FeaturesStage:
        return FeaturesStage(dataclasses.replace(self.features, training=training))

    def check_run(self, run: Run) -> None:
        check_whole(self.training)

    def check(self, run: Run, source: Any) -> None:
        if isinstance(self.features, FileFeatures):
            check_features(self.features.path, source)
        elif (self.features.net.classes, self.features.net.channels) != (len(source.class_names), source.channels):
            raise ValueError(f"features.net: needs {len(source.class_names)} classes and {source.channels} channels, as the images have")

    def outside(self) -> dict[str, Path]:
        if not isinstance(self.features, FileFeatures):
            return {}
        file, _, name = self.features.path.partition(".py:")  # which may be named as FILE.py:NAME
        return {"features_file": Path(f"{file}.py" if name else file)}

    def done(self, out: Path) -> bool:
        return isinstance(self.features, FileFeatures) or super().done(out)

    def play(self, job: Job) -> dict[str, Any]:
        if isinstance(self.features, FileFeatures):
            return {"features": load_feature_net(self.features.path).to(job.device)}
        path = job.out / FILE
        if broadcast(path.exists()):
            by_first(lambda: check_features_seal(job.out))
        else:
            training = self.features.training
            torch.manual_seed(training.seed)  # weights only; every other draw has its own generator
            game = self.game(job.made)
            batches = Batches(job.images, training.part_size, training.seed, job.run.flip)
            state = play_stage(job.out / self.name, self.name, game, batches, training, None, job.images, job.device, job.board)
            classifier = averaged(state, "classifier")
            by_first(lambda: self._keep(job, classifier))
        return {"features": load_feature_net(path).to(job.device)}

    def _keep(self, job: Job, classifier: nn.Module) -> None:
        """Writes a feature network that has been trained, and a checksum."""
        draw_curves(job.out, self.name, f"{job.run.name}: feature network", job.say)
        path, sums = job.out / FILE, job.out / self.name / CHECKSUMS
        sums.unlink(missing_ok=True)  # of an earlier one
        save_feature_net(classifier, path)
        write_json(sums, {path.name: checksum(path)})
        job.say(plain(f"features: {path}"))

    def game(self, made: Mapping[str, Any]) -> ClassifierGame:
        return ClassifierGame(self.features.net.build())

    def batch(self, run: Run, images: int) -> Batch:
        return blank_images(images, self.features.net.channels, run.tokenizer.size)

    def unmade(self) -> dict[str, Any]:
        """Of a network in a file nothing: a plan leaves it out."""
        return {"features": self.features.net.build().eval().requires_grad_(False)} if self.training is not None else {}


def check_whole(training: TrainingSpec | None) -> None:
    """ValueError for settings that only a prior knows."""
    if training is not None and (training.sharded or training.recompute):
        raise ValueError("training.sharded, recompute: these are of a prior; other networks are whole on every process")


def check_features(path: str, images: ImageSet) -> None:
    """ValueError unless the network in a file gives feature maps of such images."""
    net, blank = load_feature_net(path), torch.zeros(1, images.channels, *images.size)
    try:
        with torch.inference_mode():
            maps = net.maps(blank)
        fits = all(isinstance(m, torch.Tensor) and m.ndim == 4 and len(m) == 1 for m in maps)
    except Exception as error:
        why = " ".join(f"{error}".split())[:200]
        raise ValueError(f"feature net {path}: fails on images of {tuple(blank.shape[1:])} ({type(error).__name__}: {why})") from error
    if not fits:
        raise ValueError(f"feature net {path}: want a list of feature maps (b, c, h, w) of images (b, {images.channels}, h, w)")
