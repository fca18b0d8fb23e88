"""Probing: how well a simple classifier predicts classes from a representation (BiGR, arXiv 2410.14672, section 4.3: linear probing).

We differ in probing all places, not only their mean, and in reporting beside every figure the same probe on raw pixels, on the
tokenizer's bits, and on an untrained copy of the network. Classifiers: scikit-learn's logistic regression up to 10,000 training images,
above that a linear layer trained by SGD; weighted nearest neighbours as in Wu et al. (arXiv 1805.01978).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.images import ImageSet, in_order
from bitmosaic.names import composed
from bitmosaic.pipelines import TwoStagePipeline, pooled

SMALL = 10_000  # training images up to which logistic regression is fitted by L-BFGS
STRENGTH = 10.0  # C of logistic regression, for vectors of mean square length 1
EPOCHS, BATCH, RATE = 90, 1024, 20.0  # of SGD, for the same vectors; momentum 0.9, cosine decay, no weight decay
MEMORY = 12 * 2**30  # bytes that the features of all layers may take
NEIGHBOURS, SHARPNESS = 20, 0.07  # k, and the temperature of their weights


@dataclass(frozen=True)
class Vectors:
    """One representation of the images: vectors for training and for the test, and their classes."""

    train: Tensor  # (n, d), float16
    test: Tensor  # (m, d)
    train_labels: Tensor  # (n,)
    test_labels: Tensor  # (m,)

    def scaled(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Training vectors (of `rows` only), test vectors and training labels: standardised by the training vectors, mean square length
        1.
        """
        train, labels = (self.train, self.train_labels) if rows is None else (self.train[rows], self.train_labels[rows])
        train, test = train.float(), self.test.float()
        deviation, mean = torch.std_mean(train, 0, correction=0)
        deviation = deviation.clamp(min=0.01 * float(deviation.mean()))  # a column nearly constant in training may vary in the test
        scale = (deviation.clamp(min=1e-6) * train.shape[1] ** 0.5).reciprocal()
        return (train - mean).mul_(scale), (test - mean).mul_(scale), labels


@torch.no_grad()
def representations(
    pipeline: TwoStagePipeline, train: ImageSet, test: ImageSet, pool: bool | int = False, seed: int = 0,
    on_batch: Callable[[int], object] = int,
) -> dict[str, Vectors]:  # fmt: skip
    """Vectors by name: "pixels", "bits", "layer 0", ... and "untrained 0", ... of a copy with random weights.

    With the null class, of complete images. pool: as for `TwoStagePipeline.features`; False concatenates all places. Kept in float16: 150
    MB for each layer of 8,000 images of 7 x 7 places of 192. seed: of the random weights. ValueError for images without classes, or of
    other classes.
    """
    if train.labels is None or test.labels is None or [*map(composed, train.class_names)] != [*map(composed, test.class_names)]:
        raise ValueError("images: probing needs classes, the same in training and test; give a folder of one folder for each class")
    parts_a_side = {True: 1, False: None}.get(pool, pool)
    numbers = pipeline.prior.spec.width * (math.prod(pipeline.prior.grid) if parts_a_side is None else parts_a_side**2)
    size = 2 * 2 * len(pipeline.prior.blocks) * numbers * (len(train) + len(test))
    if size > MEMORY:
        raise ValueError(f"pool: the features would take {size / 2**30:.0f} GiB; take means (pool 1 or few parts) or fewer images")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # modules draw their weights from the global generator
        untrained = pipeline.prior.spec.build().to(pipeline.device).eval()
    parts, labels = [], []
    for images in (train, test):
        found: dict[str, list[Tensor]] = {}
        seen = []
        for batch in in_order(images, 64):
            pixels = batch.images.float() / 255
            codes = pipeline.encode_pixels(pixels)
            vectors = {"pixels": pixels.flatten(1), "bits": codes.bits().flatten(1)}
            for name, prior in (("layer", pipeline.prior), ("untrained", untrained)):
                layers = range(len(prior.blocks))
                for i, x in zip(layers, prior.intermediates(codes, None, list(layers)), strict=True):
                    vectors[f"{name} {i}"] = pooled(x.float(), prior.grid, pool).flatten(1)
            for name, rows in vectors.items():
                found.setdefault(name, []).append(rows.cpu().half())
            seen.append(images.labels[batch.indices])
            on_batch(len(pixels))
        parts.append({name: torch.cat(rows) for name, rows in found.items()})
        labels.append(torch.cat(seen))
    wrong = [name for part in parts for name, rows in part.items() if not rows.isfinite().all()]
    if wrong:
        raise ValueError(f"features of {', '.join(sorted(set(wrong)))} are not finite in float16; this prior cannot be probed")
    return {name: Vectors(parts[0][name], parts[1][name], *labels) for name in parts[0]}


def linear_accuracy(vectors: Vectors, rows: Tensor | None = None, seed: int = 0) -> float:
    """Test accuracy of a linear classifier, in [0, 1]; rows: the training images it is given, None for all.

    ValueError where scikit-learn is missing, or the training images are all of one class.
    """
    train, test, labels = vectors.scaled(rows)
    if len(labels.unique()) < 2:
        raise ValueError("images: all training images are of one class; give images of at least two")
    predict = _regression(train, labels) if len(train) <= SMALL else _sgd(train, labels, seed)
    return float((predict(test) == vectors.test_labels).float().mean())


def _regression(train: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ValueError("probing needs scikit-learn; install it with: pip install 'bitmosaic[eval]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations of L-BFGS are the protocol
        model = LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-3).fit(train.numpy(), labels.numpy())
    return lambda x: torch.from_numpy(model.predict(x.numpy()))


def _sgd(train: Tensor, labels: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    rng, layer = torch.Generator().manual_seed(seed), nn.utils.skip_init(nn.Linear, train.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), RATE, momentum=0.9)
    steps = EPOCHS * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(train), generator=rng).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(train[some]), labels[some]).backward()
            optimizer.step()
            schedule.step()
    return lambda x: layer(x).argmax(1)


@torch.no_grad()
def neighbour_accuracy(vectors: Vectors) -> float:
    """Test accuracy, in [0, 1], of the 20 nearest training images by cosine, weighted by exp(similarity / 0.07)."""
    train, test, labels = vectors.scaled()
    train, test = nn.functional.normalize(train), nn.functional.normalize(test)
    right = 0
    for start in range(0, len(test), 500):
        near, index = (test[start : start + 500] @ train.T).topk(min(NEIGHBOURS, len(train)), 1)
        votes = torch.zeros(len(near), int(labels.max()) + 1).scatter_add(1, labels[index], (near / SHARPNESS).exp())
        right += int((votes.argmax(1) == vectors.test_labels[start : start + 500]).sum())
    return right / len(test)


def few_label_accuracy(vectors: Vectors, per_class: int, draws: int = 5) -> list[float]:
    """`linear_accuracy` of `draws` random training sets of `per_class` images a class. ValueError where a class has fewer."""
    classes, found = int(vectors.train_labels.max()) + 1, []
    counts = torch.bincount(vectors.train_labels, minlength=classes)
    if int(counts.min()) < per_class:
        raise ValueError(f"per_class: got {per_class}; the smallest class has {int(counts.min())} training images")
    for draw in range(draws):
        order = torch.randperm(len(vectors.train_labels), generator=torch.Generator().manual_seed(draw))
        rows = [order[vectors.train_labels[order] == c][:per_class] for c in range(classes)]
        found.append(linear_accuracy(vectors, torch.cat(rows), draw))
    return found
