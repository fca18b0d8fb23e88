"""The classifier's game: label-smoothed cross-entropy. What it learns is a feature network for perceptual and Frechet distances."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from bitmosaic.losses.diffaugment import translate
from bitmosaic.nets.feature_net import ConvClassifier
from bitmosaic.train.game import Game, Turn


class ClassifierGame(Game):
    """One player, "classifier", on shifted images."""

    def __init__(self, classifier: ConvClassifier):
        self.players = {"classifier": classifier}

    def play(self, batch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        images, labels = translate(batch.images.to(rng.device).float() / 255, rng), batch.labels.to(rng.device)
        logits = self.players["classifier"](images, rng).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=0.05)
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        yield Turn("classifier", loss, {"loss": loss.detach(), "accuracy": accuracy})
