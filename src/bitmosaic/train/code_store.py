"""Codes of a whole image set, computed once, kept packed, read through a memory map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.images import ImageSet, epoch_order, in_order
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder
from bitmosaic.train.loop import step_generator


@dataclass(frozen=True)
class CodeBatch:
    """Codes of some images, with their labels."""

    codes: Codes
    labels: Tensor | None  # (b,) int64


class CodeStore:
    """`codes.npy` (images, draws, bytes) uint8, `labels.npy` (images,) where there are classes, `codes.json`."""

    def __init__(self, folder: Path):
        about = json.loads((folder / "codes.json").read_text())
        self.grid, self.radix = tuple(about["grid"]), tuple(about["radix"])
        self.packed = np.load(folder / "codes.npy", mmap_mode="r")
        self.labels = torch.from_numpy(np.load(folder / "labels.npy")) if about["labels"] else None

    def __len__(self) -> int:
        return len(self.packed)

    def all(self, at_once: int = 1000) -> Iterator[Codes]:
        """The first draw of every image, in order."""
        for start in range(0, len(self), at_once):
            yield Codes.unpack(np.ascontiguousarray(self.packed[start : start + at_once, 0]), self.grid, self.radix)

    def read(self, images: Tensor, draws: Tensor) -> CodeBatch:
        """Draw `draws[i]` of image `images[i]`."""
        packed = np.ascontiguousarray(self.packed[images.numpy(), draws.numpy()])
        return CodeBatch(Codes.unpack(packed, self.grid, self.radix), None if self.labels is None else self.labels[images])


class CodeBatches:
    """Batch `step` as a function of seed and step alone; a new order each epoch, and the next draw of each image."""

    def __init__(self, store: CodeStore, batch_size: int, seed: int):
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.orders: dict[int, Tensor] = {}

    def __call__(self, step: int) -> CodeBatch:
        n = len(self.store)
        positions = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = positions // n
        images = torch.stack([self._order(int(e))[p % n] for e, p in zip(epochs, positions, strict=True)])
        return self.store.read(images, (epochs + images) % self.store.packed.shape[1])

    def epoch(self, step: int) -> float:
        """Epochs finished before this step."""
        return step * self.batch_size / len(self.store)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self.orders:
            self.orders = {e: o for e, o in self.orders.items() if e >= epoch - 1}
            self.orders[epoch] = epoch_order(len(self.store), self.seed, epoch)
        return self.orders[epoch]


def images_at_once(size: tuple[int, int]) -> int:
    """Images of a batch that is only encoded or decoded: 250 up to 64 x 64 pixels, fewer of larger ones, so that memory stays."""
    return max(1, min(250, 250 * 64 * 64 // (size[0] * size[1])))


def write_codes(
    tokenizer: BinaryAutoencoder, images: ImageSet, folder: Path, draws: int, flip: bool, seed: int
) -> Iterator[int]:
    """Writes the codes of every readable image into `folder` (beside, then renamed); yields the images done."""
    beside = folder.with_name(folder.name + ".new")
    beside.mkdir(parents=True, exist_ok=True)
    device = next(tokenizer.parameters()).device
    packed, labels, done = [], [], 0
    for batch in in_order(images, images_at_once(images.size)):
        x = batch.images.to(device).float() / 255
        rngs = [step_generator(seed, done * draws + draw, device) for draw in range(draws)]
        with torch.inference_mode():
            ways = [tokenizer.logits(x.flip(-1) if mirrored else x) for mirrored in ((False, True) if flip else (False,))]
            codes = [Codes(tokenizer.quantizer(ways[i % len(ways)], rng).digits, tokenizer.radix) for i, rng in enumerate(rngs)]
        packed.append(np.stack([c.pack() for c in codes], 1))
        if batch.labels is not None:
            labels.append(batch.labels.numpy())
        done += len(batch.images)
        yield done
    np.save(beside / "codes.npy", np.concatenate(packed))
    if labels:
        np.save(beside / "labels.npy", np.concatenate(labels))
    about = {"grid": list(tokenizer.spec.grid), "radix": list(tokenizer.radix), "labels": bool(labels)}
    (beside / "codes.json").write_text(json.dumps(about))
    beside.rename(folder)
