"""A feature network for evaluation: a classifier trained on the data at hand, by one protocol for all data.

About twelve epochs of batches of 128, shifted images, smoothed labels, averaged weights. Its widths differ from those of the networks with
which recipes train tokenizers: no model should be evaluated in the space that it was trained in.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import torch
from torch import nn

from bitmosaic.evaluate.mode import measuring
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import Batches, ImageSet, in_order
from bitmosaic.nets.feature_net import ConvClassifierSpec, save_feature_net
from bitmosaic.train.alone import alone
from bitmosaic.train.classifier_game import ClassifierGame
from bitmosaic.train.stage import averaged, play_stage
from bitmosaic.train.stages import TrainedFeatures
from bitmosaic.train.training import Training

EPOCHS, BATCH = 12, 128


def protocol(images: ImageSet, seed: int = 0, steps: int | None = None) -> TrainedFeatures:
    """Net and training for images with classes; ValueError without. steps None: twelve epochs, 300 to 20,000 steps."""
    if images.labels is None or len(images.class_names) < 2:
        raise ValueError("images: a feature net learns classes; give a folder with a folder of images for each of at least two")
    levels = max(2, min(5, round(math.log2(min(images.size))) - 1))  # 28 and 32 pixels: four, down to 4 x 4
    net = ConvClassifierSpec(images.channels, len(images.class_names), tuple(min(24 * 2**level, 192) for level in range(levels)))
    steps = steps or max(300, min(20_000, EPOCHS * len(images) // BATCH))
    training = Training(
        steps=steps, batch_size=BATCH, learning_rate=2e-3, warmup_steps=min(100, steps // 4), decay="cosine", weight_decay=2e-2,
        ema_decay=max(0.5, min(0.99, 1 - 20 / steps)), precision="auto", seed=seed, checkpoint_seconds=60,
    )  # fmt: skip
    return TrainedFeatures(net, training)


def train_features(
    images: ImageSet, test: ImageSet, how: TrainedFeatures, path: Path, device: str = "cpu", source: ImageSet | None = None
) -> float:
    """Trains the net on images, writes it to `path` (.safetensors), and returns its accuracy on others, in [0, 1].

    source: the set that both were taken from, by which an evaluation finds out that the net has seen its images. Resumes from the folder
    PATH.training, which goes when the file is there. ValueError where that belongs to other images or settings.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"net: got {path}; the network is written to a file that ends in .safetensors")
    work = path.with_name(f"{path.name}.training")
    with alone(work):
        wanted = {"features": how.to_json(), "images": images.fingerprint()}
        if (work / "features.json").exists() and read_json(work / "features.json") != wanted:
            raise ValueError(f"net: {work} holds a training with other images or settings; remove it, or name another file")
        write_json(work / "features.json", wanted)
        torch.manual_seed(how.training.seed)  # weights only
        batches = Batches(images, how.training.part_size, how.training.seed)
        state = play_stage(work, "features", ClassifierGame(how.net.build()), batches, how.training, None, images, device)
        net = averaged(state, "classifier")
        right = accuracy(net, test)
        source = source or images
        about = {"trained_on": source.fingerprint(), "class_names": json.dumps(images.class_names), "test_accuracy": f"{right:.4f}"}
        save_feature_net(net.cpu(), path, **about, software="bitmosaic feature net")
        shutil.rmtree(work)
    return right


def accuracy(net: nn.Module, images: ImageSet) -> float:
    """The share of readable images whose class a classifier finds."""
    right, count = 0, 0
    with measuring(net) as device:
        for batch in in_order(images, 250):
            right += int((net(batch.images.to(device).float() / 255).argmax(1).cpu() == batch.labels).sum())
            count += len(batch.images)
    if not count:
        raise ValueError("images: none can be read")
    return right / count
