"""The judge: a classifier of Fashion-MNIST in whose feature space the benchmarks measure Frechet distances.

    python benchmarks/judge.py

Trains it on the 60,000 training images and writes benchmarks/judge.safetensors. It stays beside the classifier that ships, in whose
space `bitmosaic evaluate` and the systems measure: the distances of docs/quality_speed.md and of the shipped pipeline's card are in this
one, and no distance of one space can be compared with one of another. It has other widths and another seed than the networks of the
recipes: nobody is judged in the space it was trained in.
"""

import argparse
from pathlib import Path

import torch

from bitmosaic.images import Batches, fashion_mnist, fashion_sample
from bitmosaic.nets.feature_net import ConvClassifierSpec, load_feature_net, save_feature_net
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.features import accuracy
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.training import Training

PATH = Path(__file__).resolve().parent / "judge.safetensors"


def train(out: Path, work: Path) -> None:
    """900 steps of 128 images, resumable in `work`."""
    training = Training(
        steps=900, batch_size=128, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2, ema_decay=0.99,
        precision="auto", seed=1, checkpoint_seconds=60,
    )  # fmt: skip
    torch.manual_seed(1)
    game = ClassifierGame(ConvClassifierSpec(1, 10, (24, 48, 96, 192)).build())
    state = play_stage(work, "judge", game, Batches(fashion_mnist(), 128, 1), training)
    save_feature_net(averaged(state, "classifier"), out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--work", type=Path, default=Path("runs/judge"), help="folder for checkpoints")
    options = parser.parse_args()
    train(options.out, options.work)
    print(f"{options.out}: {100 * accuracy(load_feature_net(options.out), fashion_sample()):.2f} % of the test images")
