"""Codes of a data set, computed once, packed, and memory-mapped: a run's own, or those of 'bitmosaic tokenize'."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codes import Codes, digit_widths
from bitmosaic.disk import writing
from bitmosaic.folders import read_array, read_json
from bitmosaic.images import Batch, Batches, ImageSet, epoch_order, in_order
from bitmosaic.images.shift import background_pixel, shifted
from bitmosaic.tokenizers.base import Tokenizer
from bitmosaic.train.kept_captions import KeptCaptions
from bitmosaic.train.loop import step_generator
from bitmosaic.train.sealed import seal

MAPS = 10_000  # shards mapped at once; Linux allows a process some 65,000 maps


@dataclass(frozen=True)
class CodeBatch:
    """Codes of some images, with their labels and captions."""

    codes: Codes
    labels: Tensor | None  # (b,) int64
    captions: tuple[str, ...] | None = None  # "" where an image has none


@dataclass(frozen=True)
class Shard:
    """A folder with `codes.npy` (images, draws, bytes) uint8, and labels and captions where there are any."""

    folder: Path
    images: int


class CodeStore:
    """Codes in shards; image i is row i of their concatenation.

    draws: codes kept of each image. null: the label that replaces -1, of an image without one; None: there are no labels. captioned:
    whether there are captions. shifted: rows at the end that are codes of shifted images, which only training reads.
    ValueError, at the first read, for a shard whose arrays do not fit its description.
    """

    def __init__(
        self, shards: Sequence[Shard], grid: tuple[int, ...], radix: tuple[int, ...], draws: int, null: int | None,
        captioned: bool = False, shifted: int = 0,
    ):  # fmt: skip
        self.shifted = shifted
        self.shards, self.grid, self.radix, self.draws, self.null, self.captioned = shards, grid, radix, draws, null, captioned
        self.starts = np.cumsum([0, *(shard.images for shard in shards)])
        self.maps: dict[int, tuple[np.ndarray, np.ndarray | None, KeptCaptions | None]] = {}

    @staticmethod
    def of_run(folder: Path) -> CodeStore:
        """Those in the folder `codes` of a run: one shard, with `codes.json`."""
        about = read_json(folder / "codes.json")
        packed = read_array(folder / "codes.npy", 3, np.uint8)
        null = about.get("shifted_label", np.iinfo(np.int64).max) if about["labels"] else None  # a run's own images all have labels
        return CodeStore(
            [Shard(folder, len(packed))], tuple(about["grid"]), tuple(about["radix"]), packed.shape[1], null,
            about.get("captions", False), about.get("shifted", 0),
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def whole(self) -> int:
        """Images that are not shifted."""
        return len(self) - self.shifted

    def all(self, at_once: int = 1000) -> Iterator[Codes]:
        """The first draw of every image that is not shifted, in order."""
        for start in range(0, self.whole, at_once):
            images = torch.arange(start, min(start + at_once, self.whole))
            yield self.read(images, torch.zeros_like(images)).codes

    def some(self, count: int) -> Codes:
        """The first draw of at most `count` images that are not shifted, spread evenly."""
        count = min(count, self.whole)
        images = torch.arange(count) * self.whole // max(1, count)
        return self.read(images, torch.zeros_like(images)).codes

    def captions(self, most: int = 100_000) -> list[str]:
        """Captions of at most so many images, spread evenly, those without left out; none where there are no captions."""
        if not self.captioned:
            return []
        count = min(most, len(self))
        images = torch.arange(count) * len(self) // max(1, count)
        found = self.read(images, torch.zeros_like(images)).captions
        return [caption for caption in found if caption]

    def read(self, images: Tensor, draws: Tensor) -> CodeBatch:
        """Draw `draws[i]` of image `images[i]`."""
        rows, draws = images.numpy(), draws.numpy()
        of = np.searchsorted(self.starts, rows, side="right") - 1
        packed = np.empty((len(rows), packed_bytes(self.grid, self.radix)), np.uint8)
        labels, texts = np.empty(len(rows), np.int64), np.full(len(rows), "", object)
        by_shard = np.argsort(of, kind="stable")
        numbers, firsts = np.unique(of[by_shard], return_index=True)
        for number, here in zip(numbers, np.split(by_shard, firsts[1:]), strict=True):
            codes, classes, captions = self._map(int(number))
            inside = rows[here] - self.starts[number]
            packed[here] = codes[inside, draws[here]]
            if classes is not None:
                labels[here] = classes[inside]
            if captions is not None:
                texts[here] = captions[inside.tolist()]
        codes, given = Codes.unpack(packed, self.grid, self.radix), tuple(texts.tolist()) if self.captioned else None
        if self.null is None:
            return CodeBatch(codes, None, given)
        labels[labels < 0] = self.null
        return CodeBatch(codes, torch.from_numpy(labels), given)

    def _map(self, number: int) -> tuple[np.ndarray, np.ndarray | None, KeptCaptions | None]:
        if number not in self.maps:
            if len(self.maps) >= MAPS:
                del self.maps[next(iter(self.maps))]
            shard = self.shards[number]
            codes = read_array(shard.folder / "codes.npy", 3, np.uint8)
            wanted = (shard.images, self.draws, packed_bytes(self.grid, self.radix))
            if codes.shape != wanted:
                raise ValueError(f"{shard.folder / 'codes.npy'}: holds {codes.shape}, want {wanted}")
            labels = None if self.null is None else read_array(shard.folder / "labels.npy", 1, np.int32, np.int64)
            if labels is not None and labels.shape != wanted[:1]:
                raise ValueError(f"{shard.folder / 'labels.npy'}: holds {labels.shape}, want {wanted[:1]}")
            if labels is not None and len(labels) and not -1 <= labels.min() <= labels.max() < self.null:
                raise ValueError(f"{shard.folder / 'labels.npy'}: labels from {labels.min()} to {labels.max()}, want -1 to {self.null - 1}")
            self.maps[number] = codes, labels, KeptCaptions.read(shard.folder, shard.images) if self.captioned else None
        return self.maps[number]


def packed_bytes(grid: tuple[int, ...], radix: tuple[int, ...]) -> int:
    """Bytes of one packed code."""
    return (math.prod(grid) * sum(digit_widths(radix)) + 7) // 8


class CodeBatches:
    """Batches as a function of seed and step only; each epoch has a new order and takes the next draw of each image.

    order: function of (images, seed, epoch); its result, indexed by places, gives images. `epoch_order` takes eight bytes an image,
    `Shuffle` none.
    """

    def __init__(self, store: CodeStore, batch_size: int, seed: int, order: Callable[[int, int, int], Any] = epoch_order):
        self.store, self.batch_size, self.seed, self.order = store, batch_size, seed, order
        self.orders: dict[int, Any] = {}

    def __call__(self, step: int) -> CodeBatch:
        n = len(self.store)
        positions = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = positions // n
        images = torch.cat([self._order(int(e))[positions[epochs == e] % n] for e in epochs.unique()])
        return self.store.read(images, (epochs + images) % self.store.draws)

    def epoch(self, step: int) -> float:
        """Epochs finished before this step."""
        return step * self.batch_size / len(self.store)

    def _order(self, epoch: int) -> Any:
        if epoch not in self.orders:
            self.orders = {e: o for e, o in self.orders.items() if e >= epoch - 1}
            self.orders[epoch] = self.order(len(self.store), self.seed, epoch)
        return self.orders[epoch]


def images_at_once(size: tuple[int, ...]) -> int:
    """Batch size for encoding or decoding: 250 images up to 64 x 64 pixels, fewer larger ones, so that memory is bounded."""
    return max(1, min(250, 250 * 64 * 64 // math.prod(size)))


def write_codes(
    tokenizer: Tokenizer, images: ImageSet, folder: Path, draws: int, flip: bool, seed: int, shift: float = 0.0
) -> Iterator[int]:
    """Writes the codes of every readable image into `folder` (beside, then renamed); yields the images done.

    shift: the share of rows that are of shifted images, drawn from all, which come last.
    """
    beside = folder.with_name(folder.name + ".new")
    beside.mkdir(parents=True, exist_ok=True)
    try:
        yield from _write_codes(tokenizer, images, beside, folder, draws, flip, seed, shift)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_codes(
    tokenizer: Tokenizer, images: ImageSet, beside: Path, folder: Path, draws: int, flip: bool, seed: int, shift: float
) -> Iterator[int]:
    device = tokenizer.device
    packed, labels, captions, done = [], [], [], 0
    for batch in itertools.chain(in_order(images, images_at_once(images.size)), _shifted(images, shift, seed)):
        x = tokenizer.medium.floats(batch.images.to(device))
        rngs = [step_generator(seed, done * draws + draw, device) for draw in range(draws)]
        ways = (x, x.flip(-1)) if flip else (x,)  # in turn
        with torch.inference_mode():
            drawn = [iter(tokenizer.draws(way, rngs[i :: len(ways)])) for i, way in enumerate(ways) if rngs[i :: len(ways)]]
            codes = [next(drawn[i % len(ways)]) for i in range(draws)]
        packed.append(np.stack([c.pack() for c in codes], 1))
        if batch.labels is not None:
            labels.append(batch.labels.numpy())
        if images.captions is not None:
            captions += [images.captions[i] for i in batch.indices.tolist()]
        done += len(batch.images)
        yield done
    about = {"grid": list(tokenizer.spec.grid), "radix": list(tokenizer.radix), "labels": bool(labels)}
    about |= {"captions": True} if captions else {}
    if shift:
        about |= {"shifted": _shifted_count(len(images), shift), "shifted_label": len(images.class_names) + 1}  # as ClassEncoder has it
    with writing(folder):
        np.save(beside / "codes.npy", np.concatenate(packed))
        if labels:
            np.save(beside / "labels.npy", np.concatenate(labels))
        if captions:
            KeptCaptions.write(captions, beside)
        (beside / "codes.json").write_text(json.dumps(about))
        seal(beside)
    beside.rename(folder)


def _shifted_count(images: int, share: float) -> int:
    """Shifted images beside `images` others, so that they are `share` of all."""
    return round(images * share / (1 - share))


def _shifted(images: ImageSet, share: float, seed: int) -> Iterator[Batch]:
    """Shifted images without a class."""
    left = _shifted_count(len(images), share)
    if not left:
        return
    pixel, size = background_pixel(images), images_at_once(images.size)
    batches = Batches(images, size, seed)
    for step in range(-(-left // size)):
        batch = batches(step)
        count = min(size, left - step * size)
        moved = shifted(batch.images[:count], pixel, step_generator(seed, step, part=1))
        yield Batch(moved, None if batch.labels is None else torch.full((count,), -1), batch.indices[:count])
