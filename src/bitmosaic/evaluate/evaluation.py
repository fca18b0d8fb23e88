"""Everything that is said of a pipeline in numbers, each beside its floor and with all that it depends on.

    real images -> reference      -> features ---+
                                  -> tokenizer -> features (how well images are given back)
                -> other real ones -> features --+-> the floor: what a perfect model would get
    classes, seeds -> pipeline    -> features ---+

Images are measured as they would be saved, in 8 bits. Other real images and made ones are as many, and of the same classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic.evaluate.classes import class_agreement, classifier_score
from bitmosaic.evaluate.frechet import Statistics, frechet_distance
from bitmosaic.evaluate.kernel import kernel_distance
from bitmosaic.evaluate.manifold import manifold
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.reconstruction import Part, compare, report_of, scales
from bitmosaic.evaluate.space import Features, FeatureSpace
from bitmosaic.images import ImageSet, to_uint8
from bitmosaic.names import composed
from bitmosaic.pipelines import Pipeline

CHUNK = 50  # images at once; figures depend on it in their last digits, so it is fixed
NEIGHBOURS = 5  # k of precision, recall, density and coverage
PARTS = 10  # of the classifier score
SAME = "those of the other real images"  # the classes asked for
SEEDS = 1_000_000  # between the first images of two seeds, so that no two evaluations share an image


@dataclass(frozen=True)
class Real:
    """Real images in two parts without overlap: rows of two sets, or of one and the same."""

    reference: ImageSet
    rows: Tensor  # (m,) of the reference
    beside: ImageSet
    beside_rows: Tensor  # (n,) other real images, as many as are made

def parted(reference: ImageSet, beside: ImageSet | None, count: int | None) -> Real:
    """Real images for `count` made ones (None: 5,000, or as many as there are), always the same.

    Without `beside` half of the reference stands aside. ValueError where there are too few, or the sets differ in size.
    """
    if beside is None:
        order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
        half = len(reference) // 2
        rows, others, beside = order[half:], order[:half], reference
    else:
        if (tuple(beside.size), beside.channels) != (tuple(reference.size), reference.channels):
            raise ValueError(f"beside: images of {beside.size}, but those they stand beside are of {reference.size}")
        if beside.fingerprint() == reference.fingerprint():
            raise ValueError("beside: the same images as the reference, which would make a floor of nothing; name others, or none")
        rows = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
        others = torch.randperm(len(beside), generator=torch.Generator().manual_seed(1))
    least = 2 * (NEIGHBOURS + 1)
    if min(len(rows), len(others)) < least:
        raise ValueError(
            f"images: there are {len(rows)} as reference and {len(others)} beside them, and {least} of each are the fewest: "
            f"name a folder of {2 * least} or more, or others by --beside"
        )
    most = min(len(others), SEEDS)
    count = min(5000, most) if count is None else count
    if not least <= count <= most:
        raise ValueError(f"count: got {count}; of {len(others)} images beside the reference, give {least} to {most}")
    return Real(reference, rows, beside, others[:count])


def evaluate(
    pipeline: Pipeline, real: Real, space: FeatureSpace, seed: int = 0, settings: dict[str, Any] | None = None, workers: int = 1,
    on_done: Callable[[int], object] = int,
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Figures of a pipeline against real images, and what a picture of them is made from; both empty except on the first process.

    Figures are plain values: "samples" and "reconstruction", a value and its floor each. workers: threads, on which nothing depends, nor
    does anything on processes. ValueError where images, pipeline and network do not fit.
    """
    size, channels = tuple(pipeline.tokenizer.image_size), pipeline.tokenizer.channels
    if (tuple(real.reference.size), real.reference.channels) != (size, channels):
        raise ValueError(f"images of {real.reference.size} with {real.reference.channels} channels do not fit a pipeline of {size}")
    asked, how = classes_asked(pipeline, real)
    count, settings = len(real.beside_rows), settings or {}
    pipeline.settings(**settings)  # a wrong one is told before anything is measured

    def given(chunk: slice) -> tuple[Features, Features, Part, Tensor, Tensor] | None:
        pixels, readable = real.reference.read(real.rows[chunk])
        if not readable.any():
            return None
        pixels = pixels[readable]
        made, part = compare(pipeline.tokenizer, pixels)
        few = pictured(len(real.rows))
        return space.measure(pixels), space.measure(made), part, pixels[:few], made[:few]

    def beside(chunk: slice) -> tuple[Features, Features, Tensor] | None:
        rows = real.beside_rows[chunk]
        pixels, readable = real.beside.read(rows)
        if not readable.any():
            return None
        return space.measure(pixels[readable]), space.measure(compare(pipeline.tokenizer, pixels[readable])[0]), rows[readable]

    def drawn(chunk: slice) -> tuple[Features, Tensor]:
        conditions = [None] * count if asked is None else asked.tolist()
        seeds = [seed * SEEDS + i for i in range(count)]
        made = to_uint8(pipeline(conditions[chunk], seeds[chunk], output_type="pt", batch_size=CHUNK, **settings)).cpu()
        return space.measure(made), made[: pictured(count)]

    with measuring(pipeline.tokenizer), measuring(pipeline.prior), measuring(space.net):
        parts = [part for part in in_chunks(len(real.rows), CHUNK, given, workers, on_done) if part is not None]
        others = [part for part in in_chunks(count, CHUNK, beside, workers, on_done) if part is not None]
        samples = in_chunks(count, CHUNK, drawn, workers, on_done)
    if not samples:  # another process measures
        return {}, {}
    if not parts or not others:
        raise ValueError(f"images: none can be read; {real.reference.unreadable_summary(at_most=3)}")
    (reference, restored), (floor, restored_floor) = ([Features.join([p[i] for p in some]) for i in (0, 1)] for some in (parts, others))
    made = Features.join([part[0] for part in samples])
    report = report_of(pipeline.tokenizer, [part[2] for part in parts])
    labels = named(real.beside, torch.cat([part[2] for part in others]), pipeline.class_names)
    center = Statistics.of(reference.pooled)
    columns = None if made.logits is None else judged(space, pipeline, made.logits.shape[1])
    figures = {
        "samples": against(made, floor, reference, space)
        | (agreement(made, asked, floor, labels, columns) if asked is not None and columns is not None else {}),
        "reconstruction": {
            space.word("rfid", "reconstruction_frechet_distance"): {  # the usual figure: images against what becomes of themselves
                "value": _frechet(restored.pooled, center), "floor": 0.0},
            space.word("rfid_of_others", "reconstruction_frechet_distance_of_others"): {  # where resemblance must not come from sameness
                "value": _frechet(restored_floor.pooled, center), "floor": _frechet(floor.pooled, center)},
            **report.to_json(), "ms_ssim_scales": scales(size),
        },
        "counts": {"samples": count, "reference": len(reference.pooled), "other_real": len(floor.pooled)},
        "seeds": [seed * SEEDS, seed * SEEDS + count - 1],
        "classes": how,
        "reference_statistics_sha256": center.checksum(),
        "reference_spatial_statistics_sha256": None if reference.spatial is None else Statistics.of(reference.spatial).checksum(),
    }  # fmt: skip
    pictures = {
        "reference": reference.pooled, "samples": made.pooled, "real": torch.cat([part[3] for part in parts]),
        "restored": torch.cat([part[4] for part in parts]), "drawn": torch.cat([part[1] for part in samples]),
    }  # fmt: skip
    return figures, pictures


def against(made: Features, floor: Features, reference: Features, space: FeatureSpace) -> dict[str, Any]:
    """Every figure of made images against a reference, and of other real images in their place."""
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


def agreement(made: Features, asked: Tensor, floor: Features, labels: Tensor | None, columns: Tensor) -> dict[str, dict[str, float]]:
    """The share of made images of the class asked for, and of real ones of their own where their classes are the same.

    columns: of the network's logits, for each class of the pipeline.
    """
    real = {} if labels is None else {"floor": class_agreement(floor.logits[:, columns], labels)}
    return {"class_agreement": {"value": class_agreement(made.logits[:, columns], asked), **real}}


def classes_asked(pipeline: Pipeline, real: Real) -> tuple[Tensor | None, str]:
    """The class of each image to be made, and in words where they come from."""
    if not pipeline.prior.condition.classes:
        return None, "none"
    labels = named(real.beside, real.beside_rows, pipeline.class_names)
    if labels is not None:
        return labels, SAME
    return torch.arange(len(real.beside_rows)) % pipeline.prior.condition.classes, "each as often"


def named(images: ImageSet, rows: Tensor, class_names: Sequence[str]) -> Tensor | None:
    """The classes of some images in the order of `class_names`; None where theirs are others."""
    class_names, own = [*map(composed, class_names)], [*map(composed, images.class_names)]
    if images.labels is None or len(set(class_names)) < len(class_names) or set(own) != set(class_names):
        return None
    return torch.tensor([class_names.index(name) for name in own])[images.labels[rows]]


def judged(space: FeatureSpace, pipeline: Pipeline, classes: int) -> Tensor | None:
    """For each class of the pipeline the network's logit of it; None where it knows others.

    By name where the network's file names its classes; else the same order is assumed where there are as many, but for Inception.
    """
    ours = [*map(composed, pipeline.class_names)]
    if space.class_names is not None:
        theirs = [*map(composed, space.class_names)]
        fits = len(theirs) == classes and set(theirs) == set(ours) and len(set(ours)) == len(ours)
        return torch.tensor([theirs.index(name) for name in ours]) if fits else None
    return torch.arange(classes) if classes == pipeline.prior.condition.classes and not space.inception else None


def title(name: str) -> str:
    """A figure's name as it is shown."""
    shown = {"fid": "FID", "kid": "KID", "sfid": "sFID", "rfid": "rFID", "frechet": "Frechet", "inception": "Inception"}
    return " ".join(shown.get(word, word) for word in name.split("_"))


def pictured(count: int) -> int:
    """Images of each chunk that are kept for a picture, so that there are at least twelve in all."""
    return -(-12 // max(1, count // CHUNK))


def text(figures: dict[str, Any]) -> str:
    """What is printed."""
    lines = [f"{'':44}{'value':>12}{'floor':>12}"]
    for group in ("samples", "reconstruction"):
        for name, value in figures[group].items():
            if isinstance(value, dict) and "value" in value:
                lines.append(f"{title(name):44}" + "".join(f"{number:12.4f}" for number in value.values()))
    kept = figures["reconstruction"]
    rows = {"PSNR, dB": "psnr", "SSIM": "ssim", f"MS-SSIM, {kept['ms_ssim_scales']} scales": "ms_ssim", "bits an image": "bits_per_image"}
    lines += [f"{name:44}{kept[key]:12.4f}" for name, key in rows.items()]
    if kept["bits"]:
        lines.append(f"{'dead bits':44}{len(kept['bits']['dead']):12} of {len(kept['bits']['mean'])}")
    if kept.get("codebook"):
        lines.append(f"{'codewords used':44}{kept['codebook']['used']:12} of {kept['codebook']['codewords']}")
        lines.append(f"{'perplexity of the codebook':44}{kept['codebook']['perplexity']:12.1f}")
    return "\n".join(lines)


def total(real: Real) -> int:
    """Images that are read or made in all."""
    return len(real.rows) + 2 * len(real.beside_rows)


def _frechet(features: Tensor, reference: Statistics) -> float:
    distance = frechet_distance(Statistics.of(features), reference)
    if not math.isfinite(distance):
        raise ValueError("the distance is not finite; the feature net gives values that are too large")
    return distance
