"""Figures of generated images, shared by claims, in one feature space, such as that of the shipped classifier, with their floors."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import torch

from bitmosaic.evaluate.classes import class_agreement, classifier_score
from bitmosaic.evaluate.evaluation import CHUNK
from bitmosaic.evaluate.frechet import Statistics, frechet_distance
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks, processes
from bitmosaic.evaluate.real import SEEDS
from bitmosaic.evaluate.space import Features, FeatureSpace
from bitmosaic.images import ArrayImages, fashion_mnist, fashion_sample, to_uint8
from bitmosaic.pipelines import Pipeline
from bitmosaic.samplers import SamplerSpec

TEST = 10_000  # test images of Fashion-MNIST


class Judge:
    """A feature space, real images as reference, and the floor: training images in place of as many samples."""

    def __init__(self, space: FeatureSpace, samples: int, train: ArrayImages, test: ArrayImages):
        """samples: images drawn for each measurement. train: training images. test: other real images, which are compared with."""
        self.space, self.samples, self.train, self.test = space, samples, train, test
        with processes():
            self.reference = Statistics.of(self.features(self.test.pixels).pooled)
            self.labels = train.labels[:samples]  # the classes asked for, as often as real ones have them
            self.floor = self.distance(train.pixels[:samples])

    def features(self, pixels: torch.Tensor) -> Features:
        """Pooled features and logits of uint8 images (n, C, H, W)."""
        with measuring(self.space.net):
            return Features.join(in_chunks(len(pixels), CHUNK, lambda chunk: self.space.measure(pixels[chunk])))

    def distance(self, pixels: torch.Tensor) -> float:
        """Frechet distance of uint8 images (n, C, H, W) from the reference, in the classifier's feature space: not FID."""
        return frechet_distance(Statistics.of(self.features(pixels).pooled), self.reference)

    @torch.no_grad()
    def reconstructions(self, pipe: Pipeline) -> float:
        """That distance of as many training images as samples are drawn, each encoded and decoded: the bound of a tokenizer."""
        kept = [pipe.decode(pipe.encode(part.float() / 255), "pt") for part in self.train.pixels[: self.samples].split(250)]
        return self.distance(to_uint8(torch.cat(kept)))

    def sampling(self, pipe: Pipeline, sampler: SamplerSpec, seed: int) -> dict[str, Any]:
        """Figures of images drawn with a sampler: Frechet distance, classifier score, class agreement in [0, 1], seconds an image on the
        cores that this process has, and the sampler's settings.
        """
        labels, start = self.labels.tolist(), time.perf_counter()
        seeds = [seed * SEEDS + i for i in range(self.samples)]

        def draw(chunk: slice) -> torch.Tensor:
            return to_uint8(pipe(labels[chunk], seeds[chunk], output_type="pt", batch_size=CHUNK, sampler=sampler))

        with processes(), measuring(pipe.prior), measuring(pipe.tokenizer):
            made = torch.cat(in_chunks(self.samples, CHUNK, draw))
        seconds = (time.perf_counter() - start) / self.samples
        features = self.features(made)
        return {
            "frechet": frechet_distance(Statistics.of(features.pooled), self.reference), "score": classifier_score(features.logits),
            "agreement": class_agreement(features.logits, self.labels), "seconds": seconds, "sampler": sampler.to_json(),
        }  # fmt: skip


@lru_cache(maxsize=1)
def judge_of(samples: int, data: str, reference: int = TEST) -> Judge:
    """The judge of Fashion-MNIST of this process. data: folder as of `fashion_mnist`, empty for its default. samples: images drawn for each
    measurement. reference: test images compared with, the first ones.
    """
    test = fashion_sample()
    test = ArrayImages(test.pixels[:reference], test.labels[:reference], test.class_names)
    return Judge(FeatureSpace.load("fashion"), samples, fashion_mnist(data or None), test)
