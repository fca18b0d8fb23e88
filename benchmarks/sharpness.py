"""What the perceptual and adversarial parts of the `fashion` tokenizer earn: it against the same tokenizer trained with L1 alone.

    python benchmarks/sharpness.py --run runs/fashion --out runs/sharpness

Both are trained for the same steps on the same images in the same order, and both are judged by a Frechet distance in the feature
space of a third network: a classifier of other widths and another seed than the one the perceptual distance uses. So nobody is
judged in the space it was trained in. Resumable; prints a table and writes sharpness.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from bitmosaic.evaluate.frechet import feature_statistics, frechet_distance
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import load_part, write_json
from bitmosaic.images import ArrayImages, Batches, fashion_mnist, fashion_sample, in_order
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.recipes import fashion
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses


def l1_alone(out: Path):
    """The recipe's tokenizer, trained as the recipe does but with L1 alone."""
    run = fashion()
    training = replace(run.tokenizer_training, pictures_every=10**9)
    torch.manual_seed(training.seed)
    game = TokenizerGame(run.tokenizer.build(), TokenizerLosses())
    state = play_stage(out / "l1", "L1 alone", game, Batches(fashion_mnist(), training.batch_size, training.seed), training)
    return averaged(state, "tokenizer")


@torch.inference_mode()
def measure(tokenizer, net, images) -> dict:
    """PSNR, SSIM and the Frechet distance of reconstructed test images from test images."""
    report = reconstruction_report(tokenizer, images)
    made = (tokenizer.decode(tokenizer.encode(b.images.float() / 255)) for b in in_order(images, 250))
    given = feature_statistics(net, (b.images for b in in_order(images, 250)))
    return {"psnr": report.psnr, "ssim": report.ssim, "frechet": frechet_distance(feature_statistics(net, made), given),
            "dead_bits": list(report.bits.dead)}  # fmt: skip


def main() -> None:
    """Trains what is missing, measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/fashion"), help="a run of the fashion recipe, or its pipeline")
    parser.add_argument("--out", type=Path, default=Path("runs/sharpness"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    test, train = fashion_sample(), fashion_mnist()
    net = load_feature_net(Path(__file__).resolve().parent / "judge.safetensors")
    rows = {"L1 alone": measure(l1_alone(options.out), net, test)}
    folder = options.run / "tokenizer"
    rows["fashion recipe"] = measure(load_part(folder / "final" if (folder / "final").exists() else folder, BinaryAutoencoder), net, test)
    real = ArrayImages(train.pixels[:10_000])
    a, b = (feature_statistics(net, (x.images for x in in_order(s, 250))) for s in (real, test))
    rows["10,000 training images (floor)"] = {"frechet": frechet_distance(a, b)}
    print(f"{'':34}{'PSNR':>8}{'SSIM':>8}{'Frechet':>10}")
    for name, row in rows.items():
        print(f"{name:34}" + (f"{row['psnr']:8.2f}{row['ssim']:8.4f}" if "psnr" in row else " " * 16) + f"{row['frechet']:10.4f}")
    print(f"L1 alone over recipe: {rows['L1 alone']['frechet'] / rows['fashion recipe']['frechet']:.2f}")
    write_json(options.out / "sharpness.json", {"rows": rows, "torch": torch.__version__, "steps": fashion().tokenizer_training.steps})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
