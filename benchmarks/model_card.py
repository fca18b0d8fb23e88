"""The pictures and figures of the shipped pipeline's card, from the pipeline alone.

    python benchmarks/model_card.py --pipeline fashion --out docs

Writes sheet.png (eight per class at the settings for looks, nothing picked), sheet-default.png (the same at the pipeline's own
settings), nearest.png (the former beside their nearest training images) and model_card.json, and prints the figures.
The judge is a classifier that had no part in training (benchmarks/judge.py makes it).
"""

import argparse
import time
from pathlib import Path

import torch

from bitmosaic import Pipeline
from bitmosaic.evaluate.frechet import feature_statistics, frechet_distance
from bitmosaic.evaluate.neighbours import nearest
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import write_json
from bitmosaic.images import ArrayImages, fashion_mnist, fashion_sample, in_order, save, sheet, to_uint8
from bitmosaic.nets.feature_net import load_feature_net


def draw(pipeline: Pipeline, per_class: int, first_seed: int, **settings) -> tuple[torch.Tensor, float]:
    """Images (classes * per_class, C, H, W), class by class, and seconds an image."""
    conditions = [c for c in range(len(pipeline.class_names)) for _ in range(per_class)]
    start = time.perf_counter()
    images = pipeline(conditions, seeds=[first_seed + i % per_class for i in range(len(conditions))], output_type="pt", **settings)
    return images, (time.perf_counter() - start) / len(images)


@torch.inference_mode()
def agreement(judge, images: torch.Tensor, per_class: int) -> float:
    """Share of images that the judge puts in the class they were asked for."""
    found = torch.cat([judge(x).argmax(1) for x in images.split(250)])
    return float((found == torch.arange(len(images)) // per_class).float().mean())


def distances(judge, images: torch.Tensor, reference) -> float:
    """Frechet distance of images to a set, in the judge's space."""
    made = feature_statistics(judge, to_uint8(images).split(250))
    return frechet_distance(made, reference)


def main() -> None:
    """Draws, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--judge", type=Path, default=Path(__file__).resolve().parent / "judge.safetensors")
    parser.add_argument("--per-class", type=int, default=100, help="samples of each class for the distance")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    pipeline, judge = Pipeline.from_pretrained(options.pipeline), load_feature_net(options.judge)
    test, train = fashion_sample(), fashion_mnist()

    usual_way, _ = draw(pipeline, 8, 0)
    save(sheet(usual_way.unflatten(0, (-1, 8)), pipeline.class_names, scale=2), options.out / "sheet-default.png")
    shown, _ = draw(pipeline, 8, 0, sampler="looks")
    save(sheet(shown.unflatten(0, (-1, 8)), pipeline.class_names, scale=2), options.out / "sheet.png")
    index, near = nearest(shown, train)
    pairs = torch.stack([shown, train.pixels[index].float() / 255], 1).flatten(0, 1)  # sample, neighbour, sample, ...
    title = "each sample, and right of it the nearest of the 60,000 training images"
    save(sheet(pairs.unflatten(0, (-1, 16)), pipeline.class_names, scale=2, title=title), options.out / "nearest.png")
    _, usual = nearest(test.pixels[:: len(test) // 80].float() / 255, train)

    ways = {"default": {}, "looks": {"sampler": "looks"}}
    drawn = {name: draw(pipeline, options.per_class, 10_000, **settings) for name, settings in ways.items()}
    reference = feature_statistics(judge, (b.images for b in in_order(test, 250)))
    real = ArrayImages(train.pixels[: options.per_class * len(pipeline.class_names)])
    report = reconstruction_report(pipeline.tokenizer, test)
    with torch.inference_mode():
        logits = torch.cat([judge(b.images.float() / 255) for b in in_order(test, 250)])
    figures = {
        "samples": len(real),
        "frechet_floor": distances(judge, real.pixels.float() / 255, reference),
        "judge_accuracy_on_test": float((logits.argmax(1) == test.labels).float().mean()),
        "nearest_training_image_l2": float(near.double().median()),
        "nearest_training_image_l2_of_test_images": float(usual.double().median()),
        "closest_sample_l2": float(near.min()),
        "psnr": report.psnr, "ssim": report.ssim, "bits_per_image": report.bits_per_image, "dead_bits": list(report.bits.dead),
        "least_bit_entropy": min(report.bits.entropy), "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    for name, (images, seconds) in drawn.items():
        figures[name] = {
            "sampler": pipeline.settings(**ways[name]).to_json(), "seconds_an_image": seconds,
            "frechet": distances(judge, images, reference), "class_agreement": agreement(judge, images, options.per_class),
        }  # fmt: skip
    write_json(options.out / "model_card.json", figures)
    for name, value in figures.items():
        print(f"{name:45}{value}")


if __name__ == "__main__":
    main()
