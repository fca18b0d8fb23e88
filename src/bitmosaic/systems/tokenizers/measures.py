"""What the arena measures of a tokenizer besides `evaluate_tokenizer`: perturbed codes (pFID, Qiu et al., arXiv 2509.12474), time, search.

We differ from pFID in what a perturbed place becomes, the code of the same place in another image, and in the feature space.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from bitmosaic.codec import PriorCoder
from bitmosaic.codes import Codes
from bitmosaic.evaluate.evaluation import CHUNK
from bitmosaic.evaluate.frechet import Statistics, frechet_distance
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.images import ArrayImages, Batches
from bitmosaic.pipelines import CodesPipeline
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.tokenizers.vectors import VectorTokenizer
from bitmosaic.train.loop import State, play
from bitmosaic.train.run import Run
from bitmosaic.train.stage import put

SHARE = 0.1  # of the places that are perturbed
NEAREST = 10  # neighbours that are looked at
WARM = 1  # steps that are not timed


def codes_of(tokenizer: Tokenizer, pixels: Tensor) -> Codes:
    """Codes of uint8 images (n, C, H, W)."""
    with measuring(tokenizer):
        parts = in_chunks(len(pixels), CHUNK, lambda chunk: tokenizer.encode(tokenizer.medium.floats(pixels[chunk])).digits)
    return Codes(torch.cat(parts), tokenizer.radix)


def images_of(tokenizer: Tokenizer, codes: Codes) -> Tensor:
    """Images of codes, uint8 (n, C, H, W)."""
    with measuring(tokenizer):
        return torch.cat(in_chunks(len(codes), CHUNK, lambda chunk: tokenizer.medium.integers(tokenizer.decode(codes[chunk]))))


def perturbed(codes: Codes, seed: int = 0) -> Codes:
    """A tenth of the places of each image, drawn at random, with the codes that the image before it has there."""
    noise = torch.rand(codes.digits.shape[:-1], generator=torch.Generator().manual_seed(seed)).flatten(1)
    count = max(1, round(SHARE * codes.places))
    chosen = (noise.argsort(1).argsort(1) < count).view(codes.digits.shape[:-1])
    return Codes(torch.where(chosen[..., None], codes.digits.roll(1, 0), codes.digits), codes.radix)


def frechet(space: FeatureSpace, pixels: Tensor, reference: Tensor) -> float:
    """Frechet distance of uint8 images from others, both (n, C, H, W)."""
    with measuring(space.net):
        own, theirs = (
            Statistics.of(torch.cat(in_chunks(len(some), CHUNK, lambda chunk, some=some: space.measure(some[chunk]).pooled)))
            for some in (pixels, reference)
        )
    return frechet_distance(own, theirs)


def same_class(vectors: Tensor, labels: Tensor) -> float:
    """The share of the NEAREST other vectors, by squared distance, of the same class, a mean over vectors (n, d)."""
    x = vectors.flatten(1).float()
    distances = torch.cdist(x, x).fill_diagonal_(torch.inf)
    near = distances.topk(min(NEAREST, len(x) - 1), largest=False).indices
    return float((labels[near] == labels[:, None]).float().mean())


def code_vectors(tokenizer: VectorTokenizer, codes: Codes) -> Tensor:
    """What the decoder is given for codes, (n, *grid, d)."""
    with torch.inference_mode():
        return tokenizer.quantizer.decode(codes.digits).float()


def prior_bits(pipe: CodesPipeline, codes: Codes) -> float:
    """Bits an image of codes by the coder of a pipeline's prior, at the scale that was fitted to its training codes."""
    return float(PriorCoder(pipe.prior).lengths(codes)[pipe.logit_scale - 1]) / len(codes)


def relative_step_time(run: Run, baseline: Run, teacher: nn.Module, images: ArrayImages, count: int) -> float:
    """CPU time of a step of a run's tokenizer over that of another's, both trained for `count` steps in turn: a ratio of medians."""
    steps = []
    for one in (run, baseline):
        stage = one.stage("tokenizer")
        training = replace(stage.training, steps=WARM + count)
        game = stage.game({"features": teacher})
        put(game, training, "cpu")
        steps.append(play(State.start(game, training, "cpu"), Batches(images, training.batch_size, training.seed), training))
    seconds: list[list[float]] = [[], []]
    for _ in range(WARM + count):
        for one, taken in zip(steps, seconds, strict=True):
            start = time.process_time()
            next(one)
            taken.append(time.process_time() - start)
    ours, theirs = (statistics.median(taken[WARM:]) for taken in seconds)
    return ours / theirs
