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
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.recipes import fashion
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training


def judge(out: Path):
    """The network of the distance: trained once, kept in `out`."""
    path = out / "judge.safetensors"
    if not path.exists():
        training = Training(steps=900, batch_size=128, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2,
                            ema_decay=0.99, precision="bf16", seed=1)  # fmt: skip
        torch.manual_seed(1)
        game = ClassifierGame(ConvClassifierSpec(1, 10, (24, 48, 96, 192)).build())
        state = play_stage(out / "judge", "judge", game, Batches(fashion_mnist(), 128, 1), training)
        save_feature_net(averaged(state, "classifier"), path)
    return load_feature_net(path)


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
    net = judge(options.out)
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
