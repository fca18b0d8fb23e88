"""The pictures and figures of a shipped pipeline's card, from the pipeline alone.

    python benchmarks/model_card.py fashion
    python benchmarks/model_card.py landscapes          # needs the photographs, see docs/data.md

Writes sheet.png (eight per class at the settings for looks, nothing picked), sheet-default.png (the same at the pipeline's own
settings), nearest.png (the former beside their nearest training images) and model_card.json into docs (names begin with the
pipeline's where it is not fashion), and prints the figures. Distances are in the space of a classifier that had no part in training
(benchmarks/judge.py makes it); there is none for the landscapes, whose kinds a classifier learns by heart from 128 photographs.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from bitmosaic import Pipeline
from bitmosaic.evaluate.frechet import feature_statistics, frechet_distance
from bitmosaic.evaluate.neighbours import nearest
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import write_json
from bitmosaic.images import ArrayImages, ImageSet, in_order, save, sheet, to_uint8
from bitmosaic.images.named import NAMED_SETS
from bitmosaic.nets.feature_net import load_feature_net

JUDGE = Path(__file__).resolve().parent / "judge.safetensors"


@dataclass(frozen=True)
class Card:
    """What a card compares with."""

    train: str  # named sets
    test: str
    judge: Path | None  # a classifier that had no part in training
    prefix: str  # of the files
    scale: int  # of the pictures


CARDS = {
    "fashion": Card("fashion-mnist:train", "fashion-mnist", JUDGE, "", 2),
    "landscapes": Card("landscapes:train", "landscapes", None, "landscapes-", 2),
}


def draw(pipeline: Pipeline, per_class: int, first_seed: int, **settings) -> tuple[torch.Tensor, float]:
    """Images (classes * per_class, C, H, W), class by class, and seconds an image."""
    conditions = [c for c in range(len(pipeline.class_names)) for _ in range(per_class)]
    start = time.perf_counter()
    images = pipeline(conditions, seeds=[first_seed + i % per_class for i in range(len(conditions))], output_type="pt", **settings)
    return images, (time.perf_counter() - start) / len(images)


@torch.inference_mode()
def agreement(judge, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that the judge puts in their class."""
    found = torch.cat([judge(x).argmax(1) for x in images.split(250)])
    return float((found == labels).float().mean())


def of_classes(images: ImageSet, per_class: int, seed: int) -> ArrayImages:
    """As many images of each class, drawn at random."""
    rng, classes = torch.Generator().manual_seed(seed), range(len(images.class_names))
    own = [(images.labels == kind).nonzero().flatten() for kind in classes]
    some = torch.cat([at[torch.randperm(len(at), generator=rng)[:per_class]] for at in own])
    return ArrayImages(images.read(some)[0], images.labels[some], images.class_names)


def main(
    pipeline: Annotated[str, tyro.conf.Positional], per_class: int = 100, out: Path = Path("docs"), source: str = "",
) -> None:  # fmt: skip
    """Draws, measures, writes.

    Args:
        pipeline: fashion or landscapes.
        per_class: samples of each class for the distances.
        out: folder to write.
        source: folder of a pipeline to take in place of the shipped one.
    """
    card, pipe = CARDS[pipeline], Pipeline.from_pretrained(source or pipeline)
    judge = card.judge and load_feature_net(card.judge)
    train, test = NAMED_SETS[card.train].load(), NAMED_SETS[card.test].load()

    def keep(images: torch.Tensor, name: str, columns: int = 8, **title) -> None:
        rows = images.unflatten(0, (-1, columns))
        save(sheet(rows, pipe.class_names, scale=card.scale, **title), out / f"{card.prefix}{name}.png")

    usual_way, _ = draw(pipe, 8, 0)
    keep(usual_way, "sheet-default")
    shown, _ = draw(pipe, 8, 0, sampler="looks")
    keep(shown, "sheet")
    index, near = nearest(shown, train)
    pairs = torch.stack([shown, train.read(index)[0].float() / 255], 1).flatten(0, 1)  # sample, neighbour, sample, ...
    keep(pairs, "nearest", 16, title=f"each sample, and right of it the nearest of the {len(train):,} training images")
    _, usual = nearest(test.pixels[:: max(1, len(test) // 80)].float() / 255, train)

    report, ways = reconstruction_report(pipe.tokenizer, test), {"default": {}, "looks": {"sampler": "looks"}}
    figures: dict[str, Any] = {
        "nearest_training_image_l2": _quartiles(near), "nearest_training_image_l2_of_test_images": _quartiles(usual),
        "closest_sample_l2": float(near.min()),
        "psnr": report.psnr, "ssim": report.ssim, "bits_per_image": report.bits_per_image, "dead_bits": list(report.bits.dead),
        "least_bit_entropy": min(report.bits.entropy), "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    drawn = {name: draw(pipe, per_class if judge else 8, 10_000, **settings) for name, settings in ways.items()}
    for name, (_, seconds) in drawn.items():
        figures[name] = {"sampler": pipe.settings(**ways[name]).to_json(), "seconds_an_image": seconds}
    if judge:
        real, asked = of_classes(train, per_class, 0), torch.arange(len(pipe.class_names)).repeat_interleave(per_class)
        reference = feature_statistics(judge, (b.images for b in in_order(test, 250)))

        def distance(images: torch.Tensor) -> float:
            return frechet_distance(feature_statistics(judge, images.split(250)), reference)

        figures |= {
            "samples": len(real), "frechet_floor": distance(real.pixels),
            "frechet_of_reconstructions": distance(reconstructed(pipe, test)),
            "judge_accuracy_on_test": agreement(judge, test.pixels.float() / 255, test.labels),
        }
        for name, (images, _) in drawn.items():
            figures[name] |= {"frechet": distance(to_uint8(images)), "class_agreement": agreement(judge, images, asked)}
    write_json(out / f"{card.prefix}model_card.json", figures)
    for name, value in figures.items():
        print(f"{name:45}{value}")


def reconstructed(pipe: Pipeline, images: ImageSet) -> torch.Tensor:
    """Images, encoded and decoded: uint8."""
    parts = (b.images.float() / 255 for b in in_order(images, 250))
    return torch.cat([to_uint8(pipe.tokenizer.decode(pipe.tokenizer.encode(x))) for x in parts])


def _quartiles(values: torch.Tensor) -> list[float]:
    return [float(v) for v in values.double().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main)
