"""All figures of a pipeline against real images, each with its floor and all that it depends on.

    real images -> reference      -> features ---+
                                  -> tokenizer -> features (quality of reconstruction, where the pipeline has one)
                -> other real ones -> features --+-> the floor: what a perfect model would get
    classes, seeds -> pipeline    -> features ---+

Images are measured as they would be saved, in 8 bits. There are as many other real images as generated ones, of the same classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.evaluate.classes import class_agreement, classifier_score
from bitmosaic.evaluate.code_use import code_use, entropy_coded
from bitmosaic.evaluate.frechet import Statistics, frechet_distance
from bitmosaic.evaluate.kernel import kernel_distance
from bitmosaic.evaluate.manifold import manifold
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.real import NEIGHBOURS, SEEDS, RealImages, named
from bitmosaic.evaluate.real import parted as parted  # users find it here
from bitmosaic.evaluate.reconstruction import Part, compared, reconstructed, report_of, scales
from bitmosaic.evaluate.space import Features, FeatureSpace
from bitmosaic.images import ImageSet, to_uint8
from bitmosaic.media import PICTURES
from bitmosaic.names import composed
from bitmosaic.pipelines import Pipeline, TwoStagePipeline
from bitmosaic.tokenizers import Tokenizer

CHUNK = 50  # images at once; fixed, since the last digits of figures depend on it
PARTS = 10  # of the classifier score
SAME = "those of the other real images"  # the classes asked for


@dataclass(frozen=True)
class Measurement:
    """Some real images, and their reconstructions where there is a tokenizer."""

    real: Features
    rows: Tensor  # those that can be read
    pictures: Tensor  # the first few
    restored: Features | None = None
    part: Part | None = None  # of the report of reconstruction
    codes: Codes | None = None
    perceptual: Tensor | None = None  # mean perceptual distance of images and reconstructions
    restored_pictures: Tensor | None = None


def evaluate(
    pipeline: Pipeline, real: RealImages, space: FeatureSpace, seed: int = 0, settings: dict[str, Any] | None = None, workers: int = 1,
    on_done: Callable[[int], object] = int,
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Figures of a pipeline against real images, and the pictures for `evaluation_plot`; both empty except on the first process.

    Figures are plain values: "samples" and, for a pipeline with a tokenizer, "reconstruction", each a value and its floor. workers:
    threads; figures depend neither on it nor on the number of processes. ValueError where images, pipeline and network do not fit.
    """
    size, channels = pipeline.image_size, pipeline.channels
    if (tuple(real.reference.size), real.reference.channels) != (size, channels):
        raise ValueError(f"images of {real.reference.size} with {real.reference.channels} channels do not fit a pipeline of {size}")
    asked, how = classes_asked(pipeline, real)
    count, settings = len(real.beside_rows), settings or {}
    pipeline.settings(**settings)  # refuses wrong settings before anything is measured
    tokenizer = pipeline.tokenizer if isinstance(pipeline, TwoStagePipeline) else None

    def given(chunk: slice) -> Measurement | None:
        return measured(real.reference, real.rows[chunk], space, tokenizer, pictured(len(real.rows)))

    def beside(chunk: slice) -> Measurement | None:
        return measured(real.beside, real.beside_rows[chunk], space, tokenizer, 0)

    def drawn(chunk: slice) -> tuple[Features, Tensor]:
        conditions = [None] * count if asked is None else asked.tolist()
        seeds = [seed * SEEDS + i for i in range(count)]
        made = to_uint8(pipeline(conditions[chunk], seeds[chunk], output_type="pt", batch_size=CHUNK, **settings)).cpu()
        return space.measure(made), made[: pictured(count)]

    with ExitStack() as networks:
        for network in (*pipeline.parts.values(), space.net):
            networks.enter_context(measuring(network))
        parts = [part for part in in_chunks(len(real.rows), CHUNK, given, workers, on_done) if part is not None]
        others = [part for part in in_chunks(count, CHUNK, beside, workers, on_done) if part is not None]
        samples = in_chunks(count, CHUNK, drawn, workers, on_done)
    if not samples:  # another process measures
        return {}, {}
    if not parts or not others:
        raise ValueError(f"images: none can be read; {real.reference.unreadable_summary(at_most=3)}")
    reference, floor = (Features.join([part.real for part in some]) for some in (parts, others))
    made, center = Features.join([part[0] for part in samples]), Statistics.of(reference.pooled)
    labels = named(real.beside, torch.cat([part.rows for part in others]), pipeline.class_names)
    figures = {
        "samples": against(made, floor, reference, space) | agreement(pipeline, space, made, asked, floor, labels),
        **({} if tokenizer is None else {"reconstruction": reconstruction(tokenizer, parts, others, floor, center, space)}),
        "counts": {"samples": count, "reference": len(reference.pooled), "other_real": len(floor.pooled)},
        "seeds": [seed * SEEDS, seed * SEEDS + count - 1],
        "classes": how,
        "reference_statistics_sha256": center.checksum(),
        "reference_spatial_statistics_sha256": None if reference.spatial is None else Statistics.of(reference.spatial).checksum(),
    }
    return figures, {
        "reference": reference.pooled, "samples": made.pooled, "real": torch.cat([part.pictures for part in parts]),
        **({} if tokenizer is None else {"restored": torch.cat([part.restored_pictures for part in parts])}),
        "drawn": torch.cat([part[1] for part in samples]),
    }  # fmt: skip


def evaluate_tokenizer(
    tokenizer: Tokenizer, real: RealImages, space: FeatureSpace, workers: int = 1, on_done: Callable[[int], object] = int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures "reconstruction" of `evaluate` of a tokenizer alone, and the pictures: "real" and "restored" images, uint8.

    Images may be of any size that the tokenizer's factor divides. Arguments and errors as of `evaluate`.
    """
    if tokenizer.medium.axes != PICTURES.axes or real.reference.channels != tokenizer.channels:
        wanted = f"a tokenizer of {tokenizer.medium.plural} with {tokenizer.channels} channels"
        raise ValueError(f"images with {real.reference.channels} channels do not fit {wanted}")

    def chunks(images: ImageSet, rows: Tensor) -> list[Measurement | None]:
        few = pictured(len(rows))
        return in_chunks(len(rows), CHUNK, lambda chunk: measured(images, rows[chunk], space, tokenizer, few), workers, on_done)

    with measuring(tokenizer), measuring(space.net):
        both = chunks(real.reference, real.rows), chunks(real.beside, real.beside_rows)
    if not both[0]:  # another process measures
        return {}, {}
    parts, others = ([part for part in some if part is not None] for some in both)
    if not parts or not others:
        raise ValueError(f"images: none can be read; {real.reference.unreadable_summary(at_most=3)}")
    reference, floor = (Features.join([part.real for part in some]) for some in (parts, others))
    center = Statistics.of(reference.pooled)
    figures = {
        "reconstruction": reconstruction(tokenizer, parts, others, floor, center, space),
        "counts": {"reference": len(reference.pooled), "other_real": len(floor.pooled)}, "reference_statistics_sha256": center.checksum(),
    }  # fmt: skip
    return figures, {
        "real": torch.cat([part.pictures for part in parts]), "restored": torch.cat([part.restored_pictures for part in parts])
    }  # fmt: skip


def measured(images: ImageSet, rows: Tensor, space: FeatureSpace, tokenizer: Tokenizer | None, few: int) -> Measurement | None:
    """Features of some images of a set, and `few` of the images for a picture; None where none of them can be read."""
    pixels, readable = images.read(rows)
    if not readable.any():
        return None
    pixels = pixels[readable]
    own = space.measure(pixels), rows[readable], pixels[:few]
    if tokenizer is None:
        return Measurement(*own)
    made, codes = reconstructed(tokenizer, pixels)
    part = compared(tokenizer, pixels, made, codes)
    return Measurement(*own, space.measure(made), part, codes.to("cpu"), space.perceptual(pixels, made), made[:few])


def reconstruction(
    tokenizer: Tokenizer, parts: list[Measurement], others: list[Measurement], floor: Features, center: Statistics, space: FeatureSpace
) -> dict[str, Any]:
    """Figures of reconstruction: against the images themselves, and against other images, so that identity does not help."""
    restored, restored_others = (Features.join([part.restored for part in some]).pooled for some in (parts, others))
    codes, codes_others = (Codes(torch.cat([part.codes.digits for part in some]), tokenizer.radix) for some in (parts, others))
    distances = [part.perceptual * len(part.rows) for part in parts if part.perceptual is not None]
    return {
        space.word("rfid", "reconstruction_frechet_distance"): {  # the usual figure: images against their own reconstructions
            "value": _frechet(restored, center), "floor": 0.0},
        space.word("rfid_of_others", "reconstruction_frechet_distance_of_others"): {
            "value": _frechet(restored_others, center), "floor": _frechet(floor.pooled, center)},
        **report_of(tokenizer, [part.part for part in parts]).to_json(), "ms_ssim_scales": scales(tuple(parts[0].pictures.shape[2:])),
        "perceptual_distance": float(sum(distances) / len(restored)) if distances else None,
        "use": code_use(codes), "entropy_coded": entropy_coded(codes_others, codes),  # others, so that no frequency is of its own code
    }  # fmt: skip


def against(made: Features, floor: Features, reference: Features, space: FeatureSpace) -> dict[str, Any]:
    """Every figure of generated images against a reference, and its floor, from other real images in their place."""
    n = min(len(made.pooled), len(floor.pooled), len(reference.pooled))
    center = Statistics.of(reference.pooled)

    def both(of: Callable[[Features], float]) -> dict[str, float]:
        return {"value": of(made), "floor": of(floor)}

    found = {
        space.word("fid", "frechet_distance"): both(lambda x: _frechet(x.pooled, center)),
        space.word("kid", "kernel_distance"): both(lambda x: kernel_distance(x.pooled, reference.pooled)),
    }
    four = [asdict(manifold(x.pooled[:n], reference.pooled[:n], NEIGHBOURS)) for x in (made, floor)]
    found |= {name: {"value": four[0][name], "floor": four[1][name]} for name in four[0]}
    if reference.spatial is not None:
        places = Statistics.of(reference.spatial)
        found[space.word("sfid", "spatial_frechet_distance")] = both(lambda x: _frechet(x.spatial, places))
    if made.logits is not None:
        found[space.word("inception_score", "classifier_score")] = both(lambda x: classifier_score(x.logits, min(PARTS, len(x.logits))))
    return found


def agreement(
    pipeline: Pipeline, space: FeatureSpace, made: Features, asked: Tensor | None, floor: Features, labels: Tensor | None
) -> dict[str, dict[str, float]]:  # fmt: skip
    """The share of generated images that the network puts into the class asked for; as floor, that of real images, where their classes are
    the same. Empty where no class was asked for, or the network knows other classes.
    """
    columns = None if asked is None or made.logits is None else judged(space, pipeline, made.logits.shape[1])
    if columns is None:
        return {}
    real = {} if labels is None else {"floor": class_agreement(floor.logits[:, columns], labels)}
    return {"class_agreement": {"value": class_agreement(made.logits[:, columns], asked), **real}}


def classes_asked(pipeline: Pipeline, real: RealImages) -> tuple[Tensor | None, str]:
    """The class of each image to be drawn, (n,), and the source of the classes in words."""
    if not pipeline.class_names:
        return None, "none"
    labels = named(real.beside, real.beside_rows, pipeline.class_names)
    if labels is not None:
        return labels, SAME
    return torch.arange(len(real.beside_rows)) % len(pipeline.class_names), "each as often"


def judged(space: FeatureSpace, pipeline: Pipeline, classes: int) -> Tensor | None:
    """For each class of the pipeline its column of the network's logits; None where the network knows other classes.

    Matched by name where the network's file names its classes; else, except for Inception, by order where there are as many.
    """
    ours = [*map(composed, pipeline.class_names)]
    if space.class_names is not None:
        theirs = [*map(composed, space.class_names)]
        fits = len(theirs) == classes and set(theirs) == set(ours) and len(set(ours)) == len(ours)
        return torch.tensor([theirs.index(name) for name in ours]) if fits else None
    return torch.arange(classes) if classes == len(pipeline.class_names) and not space.inception else None


def pictured(count: int) -> int:
    """Images to keep of each chunk for the picture, so that there are at least twelve in all."""
    return -(-12 // max(1, count // CHUNK))


def _frechet(features: Tensor, reference: Statistics) -> float:
    distance = frechet_distance(Statistics.of(features), reference)
    if not math.isfinite(distance):
        raise ValueError("the distance is not finite; the feature net gives values that are too large")
    return distance
