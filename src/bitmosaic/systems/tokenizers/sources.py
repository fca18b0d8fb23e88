"""What the schemes are compared on: Fashion-MNIST, and landscapes at 64 pixels in colour, each with networks that judge and that teach.

Fashion-MNIST is Xiao et al.'s (arXiv 1708.07747). Tokenizers learn from one classifier's features and are judged in another's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.images import ArrayImages, ImageSet, Landscapes, fashion_mnist, fashion_sample, landscapes_sample
from bitmosaic.images.specs import FashionMNISTSpec, ImagesSpec, LandscapesSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.systems.base import Task
from bitmosaic.train.claim import claim
from bitmosaic.train.run import Run
from bitmosaic.train.stages import FeaturesStage, Job, TrainedFeatures, play_all
from bitmosaic.train.training import Training

Opened = TypeVar("Opened", bound=ImageSet)

TAUGHT, OTHERS, TEST = 12_000, 4_000, 8_000  # images of Fashion-MNIST: that are trained on, others of the training set, test images
CROPS, OTHER_CROPS, TEST_CROPS = 48, 16, 96  # the same of landscapes, crops of each photograph
FEATURE_STEPS = 300
CLASSES = 10  # of both
SHOWN = 8  # images of the picture
TEACHER, JUDGE = (16, 32, 64), (24, 48, 96)  # widths of the networks


@dataclass(frozen=True)
class Images:
    """Images of one data set."""

    taught: ArrayImages  # that tokenizer and prior are trained on
    others: ArrayImages  # of the same distribution, which samples are held against
    test: ArrayImages  # unseen; of landscapes also their photographs


@dataclass(frozen=True)
class Source:
    """A data set, and the sizes that suit it."""

    name: str
    about: str
    spec: Callable[[str], ImagesSpec]
    size: int  # side in pixels
    channels: int
    multipliers: tuple[int, ...]  # of the tokenizer's levels
    batch: int  # images of a step of the tokenizer
    perceptual: float  # weight of the perceptual distance in training
    stride: int  # of the feature networks' first level
    images: Callable[[Task], Images]  # ValueError where they are not found
    sample: Callable[[], ArrayImages]  # test images that ship with the package
    space: str = ""  # the classifier that judges, where one ships

    def teaching(self, task: Task) -> FeaturesStage:
        """The network of the perceptual distance in training, and of codewords that are features."""
        return self._classifier(task, TEACHER, 0)

    def teacher(self, task: Task, images: Images) -> nn.Module:
        """That network, trained once for the experiment."""
        return self._trained(task, images, "teacher", self.teaching(task))[0]

    def judge(self, task: Task, images: Images) -> FeatureSpace:
        """The space in which images are measured: of the classifier that ships, or of another one that is trained once."""
        return FeatureSpace.load(self.space or self._trained(task, images, "judge", self._classifier(task, JUDGE, 1))[1])

    def _classifier(self, task: Task, widths: tuple[int, ...], seed: int) -> FeaturesStage:
        training = Training(
            task.some(FEATURE_STEPS, 2), 64, learning_rate=2e-3, warmup_steps=task.some(30), decay="cosine", weight_decay=1e-2,
            ema_decay=0.98, precision="auto", seed=seed, pictures_every=10**6,
        )  # fmt: skip
        return FeaturesStage(TrainedFeatures(ConvClassifierSpec(self.channels, CLASSES, widths, stride=self.stride), training))

    def _trained(self, task: Task, images: Images, name: str, stage: FeaturesStage) -> tuple[nn.Module, str]:
        """A frozen classifier of the training images in a folder of the experiment, and its file."""
        run = Run(f"{self.name}-{name}", self.spec(task.data), (stage,))
        out = task.folder / run.name
        with task.lock(run.name):
            claim(out, run, images.taught)
            made = play_all(run.stages, Job(run, out, images.taught))
        return made["features"], str(out / FeaturesStage.files[0])

    @property
    def shown(self) -> Tensor:
        """The first test image of each of the first SHOWN classes, for the picture, (SHOWN, C, H, W) uint8."""
        sample = self.sample()
        assert sample.labels is not None
        return torch.stack([sample.pixels[sample.labels == label][0] for label in range(SHOWN)])


def fashion_images(task: Task) -> Images:
    """Fashion-MNIST for a task."""
    train, test = opened(fashion_mnist, task.data), fashion_sample()
    count = task.some(TAUGHT, 130)
    return Images(
        some(train, torch.arange(count)), some(train, torch.arange(TAUGHT, TAUGHT + task.some(OTHERS, 30))),
        some(test, torch.arange(task.some(TEST, 60))),
    )  # fmt: skip


def landscape_images(task: Task) -> Images:
    """Landscapes for a task; of each photograph the last crops are the others."""
    crops = task.some(CROPS, 2)
    train = opened(lambda folder: Landscapes(folder, crops=crops + task.some(OTHER_CROPS)), task.data)
    test = opened(lambda folder: Landscapes(folder, "test", crops=task.some(TEST_CROPS, 4)), task.data)
    count = len(train.files) * crops
    return Images(
        some(train, torch.arange(count)), some(train, torch.arange(count, len(train))), some(test, torch.arange(len(test))),
    )  # fmt: skip


def opened(opens: Callable[[str | None], Opened], folder: str) -> Opened:
    """A data set in a folder that holds one or both; what is not there is looked for where it usually is."""
    if folder:
        with suppress(ValueError):
            return opens(folder)
        with suppress(ValueError):
            return opens(None)
    return opens(folder or None)


def some(images: ImageSet, rows: Tensor) -> ArrayImages:
    """Some images of a set, in memory."""
    assert images.labels is not None
    return ArrayImages(images.read(rows)[0], images.labels[rows], images.class_names)


SOURCES = {
    source.name: source
    for source in (
        Source(
            "fashion", "Fashion-MNIST", FashionMNISTSpec, 28, 1, (1, 2, 4), 32, 0.1, 1, fashion_images, fashion_sample, "fashion"
        ),
        Source("landscapes", "Landscapes", LandscapesSpec, 64, 3, (1, 2, 2, 4), 16, 0.04, 2, landscape_images, landscapes_sample),
    )
}  # fmt: skip
