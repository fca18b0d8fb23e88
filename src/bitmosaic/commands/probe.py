"""`bitmosaic probe`: how well codes and a prior's features predict the classes."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from bitmosaic.commands.arguments import PipelineName
from bitmosaic.commands.files import SOFTWARE, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import DEFAULT, Drawing, load
from bitmosaic.evaluate.probe import Vectors, few_label_accuracy, linear_accuracy, neighbour_accuracy, representations
from bitmosaic.evaluate.probe_plots import by_labels, by_layer, map_of
from bitmosaic.folders import write_json
from bitmosaic.images import NAMED_SETS, ArrayImages, Folder, ImageSet, save
from bitmosaic.images.real import own_test_set
from bitmosaic.pipelines import TwoStagePipeline

FILES = ("probe.json", "layers.png", "labels.png", "map.png")
FEW = (1, 10, 100)  # labelled images of each class
MAPPED = 2000  # images on the map


def probe(
    pipeline: PipelineName = DEFAULT, *, data: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None,
    train: int = 10_000, test: int = 5_000, pool: int = 0, seed: int = 0, out: Path = Path("probe"), device: str = "cpu",
    precision: Drawing = "float32",
) -> dict:  # fmt: skip
    """Trains simple classifiers on the features of every layer, and for comparison on pixels, bits and an untrained copy of the network.

    Writes probe.json (every accuracy, and all that it depends on), layers.png (accuracy by layer), labels.png (with 1, 10 and 100 labelled
    images of each class, for the layer with the highest test accuracy and the baselines) and map.png (test images in the plane, by PCA
    and by t-SNE, coloured by class). Needs scikit-learn: pip install 'bitmosaic[eval]'. Takes ten minutes on two CPU cores with the
    pipeline fashion.

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        data: folder with a sub-folder of images for each class, a fifth of which is the test set; none: the named sets of the pipeline's
            size.
        train: training images, at most; up to 10,000 by logistic regression, more by SGD.
        test: test images, at most.
        pool: 0: features of all places concatenated; 1: their mean, as in the paper; g: means over g x g parts of the image.
        seed: of the untrained network and of every other draw.
        out: folder to write into; a probe that bitmosaic wrote there is replaced.
        device: where features are computed, such as cpu or cuda.
        precision: of the prior; auto: bf16 where the processor has bf16 arithmetic, else float32.

    Returns:
        The contents of probe.json.
    """
    if min(train, test) < 1 or pool < 0:
        raise ValueError(f"train, test, pool: got {train}, {test}, {pool}; give at least 1, 1 and 0")
    pipe = load(pipeline, device, TwoStagePipeline, precision=precision)
    sets = split(pipe, data, train, test, seed)
    with written_into(out, FILES) as folder:
        with tqdm(total=sum(map(len, sets)), desc="features", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
            vectors = representations(pipe, *sets, False if pool == 0 else True if pool == 1 else pool, seed, bar.update)
        found = measure(vectors, seed)
        shown = {0: "all places", 1: "mean of places"}.get(pool, f"means of {pool} x {pool} parts")
        about = {
            "software": SOFTWARE, "pipeline": str(pipeline), "data": str(data or own_test_set(pipe.image_size, pipe.channels, "data")),
            "train": len(sets[0]), "test": len(sets[1]), "fingerprints": [images.fingerprint() for images in sets], "features": shown,
            "seed": seed, "precision": pipe.precision, "torch": torch.__version__,
        }  # fmt: skip
        write_json(folder / "probe.json", {**about, **found})
        note = f"{pipeline}, {shown}, {len(sets[0]):,} training images"
        save(by_layer(found, note), folder / "layers.png", Software=SOFTWARE)
        save(by_labels(found, note), folder / "labels.png", Software=SOFTWARE)
        plane = map_of(vectors[found["best"]], sets[1].class_names, f"{found['best']} of {note}", seed, MAPPED)
        save(plane, folder / "map.png", Software=SOFTWARE)
    print(table(found))
    return {**about, **found}


def split(pipe: TwoStagePipeline, data: Path | None, train: int, test: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training and test images of the pipeline's size. ValueError for a folder without classes or with fewer than ten images."""
    size, channels = pipe.image_size, pipe.channels
    if data is None:
        name = own_test_set(size, channels, "data")
        sets = NAMED_SETS[f"{name}:train"].load(), NAMED_SETS[name].load()
        return tuple(taken(images, torch.arange(min(n, len(images)))) for images, n in zip(sets, (train, test), strict=True))
    images = Folder(data, size, channels)
    tell_used(images.told())
    if images.labels is None:
        raise ValueError(f"data: {data} has no classes; give a folder with a folder of images for each class")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    few = max(1, len(order) // 5)
    if len(order) < 10:
        raise ValueError(f"data: {data} has {len(order)} images; give at least ten")
    sets = taken(images, order[few:][:train]), taken(images, order[:few][:test])
    tell_unreadable(images)
    return sets


def taken(images: ImageSet, rows: torch.Tensor) -> ArrayImages:
    """The images of these numbers, without unreadable ones."""
    pixels, readable = images.read(rows)
    return ArrayImages(pixels[readable], images.labels[rows][readable], images.class_names)


def measure(vectors: dict[str, Vectors], seed: int) -> dict:
    """Accuracies of every representation, the best layer by the linear classifier, and few-label curves of that and the baselines."""
    bar = tqdm(vectors.items(), desc="classifiers", unit="representation", disable=None, dynamic_ncols=True, leave=False)
    found = {name: {"linear": linear_accuracy(v, seed=seed), "neighbours": neighbour_accuracy(v)} for name, v in bar}
    best = max((name for name in found if name.startswith("layer")), key=lambda name: found[name]["linear"])
    beside = max((name for name in found if name.startswith("untrained")), key=lambda name: found[name]["linear"])
    smallest = int(torch.bincount(vectors["pixels"].train_labels).min())
    few = {name: {str(n): few_label_accuracy(vectors[name], n) for n in FEW if n <= smallest} for name in (best, beside, "bits", "pixels")}
    return {"best": best, "best_by": "accuracy on the test images", "best_untrained": beside, "accuracy": found, "few_labels": few}


def table(found: dict) -> str:
    """The printed table."""
    lines = [f"{'':14}{'linear':>8}{'nearest 20':>12}"]
    lines += [f"{name:14}{100 * a['linear']:7.2f}%{100 * a['neighbours']:11.2f}%" for name, a in found["accuracy"].items()]
    for name, curve in found["few_labels"].items():
        means = ", ".join(f"{n} a class {100 * statistics.mean(runs):.1f}%" for n, runs in curve.items())
        lines.append(f"{name}: {means}")
    return "\n".join(lines)
