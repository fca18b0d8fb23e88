"""Shuffled batches without state: a batch depends only on the seed and the step, so a run resumes at any step."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ImageSet

Changed = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Batch:
    """Some images of a set."""

    images: Tensor           # (B, C, H, W) uint8; of another medium (B, C, *size) as it stores them
    labels: Tensor | None    # (B,) int64, None without classes
    indices: Tensor          # (B,) int64, the images' numbers in their set
    epoch: float = 0.0       # epochs finished before it, where it is of a stream


def blank_images(count: int, channels: int, size: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Batch:
    """A batch of zeros of class 0, for planning; dtype: that in which the medium stores signals."""
    return Batch(torch.zeros(count, channels, *size, dtype=dtype), torch.zeros(count, dtype=torch.long), torch.arange(count))


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits n images, a permutation that depends on seed and epoch alone: (n,)."""
    return torch.randperm(n, generator=_generator("order", seed, epoch))


class Batches:
    """An endless stream of shuffled batches.

    Place i of batch `step` is position p = step * batch_size + i of the stream: epoch p // n, place p % n of that
    epoch's order. Batches run across the borders of epochs. An unreadable image is replaced by the next readable one of
    the same order.
    flip: mirror each image left to right with probability 1/2, drawn from seed, epoch and place. changed: what else is done to a
    batch's images, a function of images (b, C, H, W) and a generator of this batch's own.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, flip: bool = False, changed: Changed | None = None):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size!r}; give a whole number of at least 1")
        if len(images) == 0:
            raise ValueError("images: got a set of no images; give at least one")
        self.images, self.batch_size, self.seed, self.flip, self.changed = images, batch_size, seed, flip, changed
        self._epochs: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, step: int) -> Batch:
        """Batch number step, from 0. ValueError if step is negative, or if no image of the set is readable any more."""
        if step < 0:
            raise ValueError(f"step: got {step}; steps count from 0")
        n, start = len(self.images), step * self.batch_size
        positions = torch.arange(start, start + self.batch_size)
        parts = [self._part(int(epoch), positions[positions // n == epoch] % n) for epoch in (positions // n).unique()]
        pixels, indices = (torch.cat(part) for part in zip(*parts, strict=True))
        if self.changed is not None:
            pixels = self.changed(pixels, _generator("change", self.seed, step))
        labels = None if self.images.labels is None else self.images.labels[indices]
        return Batch(pixels, labels, indices, self.epoch(step))

    def epoch(self, step: int) -> float:
        """Epochs finished before this step, with the part of the current one."""
        return step * self.batch_size / len(self.images)

    def _part(self, epoch: int, places: Tensor) -> tuple[Tensor, Tensor]:
        """The images at these places of one epoch's order, and their indices."""
        order, mirrored = self._epoch(epoch)
        indices = order[places]
        pixels, readable = self.images.read(indices)
        for i in (~readable).nonzero().flatten().tolist():
            indices[i], pixels[i] = self._next_readable(order, int(places[i]))
        if self.flip:
            pixels = torch.where(mirrored[places][:, None, None, None], pixels.flip(-1), pixels)
        return pixels, indices

    def _next_readable(self, order: Tensor, place: int) -> tuple[int, Tensor]:
        for index in torch.cat((order[place + 1:], order[:place])).tolist():
            image = self.images.image(index)
            if image is not None:
                return index, image
        raise ValueError(f"images: none can be read any more; {self.images.unreadable_summary(at_most=3)}")

    def _epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """An epoch's order (n,) and which places are mirrored (n,); the latest two epochs are kept."""
        if epoch not in self._epochs:
            n = len(self.images)
            mirrored = torch.rand(n, generator=_generator("flip", self.seed, epoch)) < 0.5
            self._epochs[epoch] = (epoch_order(n, self.seed, epoch), mirrored)
            if len(self._epochs) > 2:
                del self._epochs[next(iter(self._epochs))]
        return self._epochs[epoch]


def in_order(images: ImageSet, batch_size: int) -> Iterator[Batch]:
    """Every readable image once, by index. A batch holds fewer where images are unreadable, and at the end."""
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}; give a whole number of at least 1")
    for indices in torch.arange(len(images)).split(batch_size):
        pixels, readable = images.read(indices)
        if readable.any():
            kept = indices[readable]
            yield Batch(pixels[readable], None if images.labels is None else images.labels[kept], kept)


def some_images(images: ImageSet, count: int) -> Tensor:
    """Some readable images of a set, (n, C, H, W) as they are stored: uint8. Drawn at random, since images at even steps may be alike."""
    spread = sorted(epoch_order(len(images), 0, 0)[:count].tolist())
    readable = [x for x in (images.image(i) for i in spread) if x is not None]
    return torch.stack(readable) if readable else next(in_order(images, count)).images


def _generator(purpose: str, seed: int, epoch: int) -> torch.Generator:
    digest = hashlib.sha256(f"{purpose} {seed} {epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
