"""Real images by name: Fashion-MNIST, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro

from bitmosaic.images import Folder, ImageSet, fashion_mnist, fashion_sample
from bitmosaic.names import composed

Data = Annotated[str, tyro.conf.arg(metavar="DATA", help_behavior_hint="")]
FASHION = {"fashion-mnist": "the 10,000 test images, which ship", "fashion-mnist:train": "the 60,000 training images"}


def real_images(name: str, size: tuple[int, int], channels: int, known: Sequence[str] | None = None) -> ImageSet:
    """The images of that name. A folder's are cropped and scaled to `size`; Fashion-MNIST must have it, or there is a ValueError.

    known: the classes of a pipeline, where classes serve it alone: a folder whose sub-folders are others is taken whole, without classes,
    rather than refused or cut. None: sub-folders are classes.
    """
    if name in FASHION and not Path(name).exists():
        images = fashion_sample() if name == "fashion-mnist" else fashion_mnist()
        if (images.size, images.channels) != (tuple(size), channels):
            raise ValueError(f"{name} is 28 x 28 grey, this pipeline {size[1]} x {size[0]} with {channels} channels; name a folder")
        return images
    if not Path(name).expanduser().is_dir():
        raise ValueError(f"data: there is no folder {name}; give one, or {' or '.join(FASHION)}")
    path = Path(name).expanduser()
    if known is None:
        return Folder(path, size, channels)
    try:
        found = Folder(path, size, channels)
    except ValueError:  # sub-folders that are no classes
        return Folder(path, size, channels, classes=False)
    whole = not found.found.beside or set(found.class_names) == set(map(composed, known))
    return found if whole else Folder(path, size, channels, classes=False)


def learned_and_held(images: ImageSet, name: str) -> tuple[ImageSet, ImageSet]:
    """Images to learn from and others to test on: Fashion-MNIST's own test images, else every tenth, drawn at random."""
    if name == "fashion-mnist:train":
        return images, fashion_sample()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    few = len(order) // 10
    if few < 1:
        raise ValueError(f"against: {name} has {len(order)} images; give at least ten")
    return Some(images, order[few:]), Some(images, order[:few])


class Some(ImageSet):
    """Some images of a set, by number."""

    def __init__(self, images: ImageSet, rows: torch.Tensor):
        self.images, self.rows = images, rows
        self.size, self.channels, self.class_names, self.unreadable = images.size, images.channels, images.class_names, images.unreadable
        self.labels = None if images.labels is None else images.labels[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> torch.Tensor | None:
        return self.images.image(int(self.rows[index]))

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.fingerprint().encode() + self.rows.numpy().tobytes()).hexdigest()
