"""Real images: a named set, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from bitmosaic.names import composed

from .base import ImageSet
from .folder import Folder
from .named import NAMED_SETS, SET_OF, shipped_name


def real_images(name: str, size: tuple[int, int], channels: int, known: Sequence[str] | None = None) -> ImageSet:
    """The images of that name. A folder's are cropped and scaled to `size`; a set that has a name must have it, or there is a ValueError.

    known: the classes of a pipeline, where classes serve it alone: a folder whose sub-folders are others is taken whole, without classes,
    rather than refused or cut. None: sub-folders are classes.
    """
    if (images := named_images(name)) is not None:
        if (images.size, images.channels) != (tuple(size), channels):
            (height, width), ours = images.size, f"{size[1]} x {size[0]} with {channels} channels"
            raise ValueError(f"{name} is {width} x {height} with {images.channels} channels, this pipeline {ours}; name a folder")
        return images
    if not Path(name).expanduser().is_dir():
        raise ValueError(f"data: there is no folder {name}; give one, or {' or '.join(NAMED_SETS)}")
    path = Path(name).expanduser()
    if known is None:
        return Folder(path, size, channels)
    try:
        found = Folder(path, size, channels)
    except ValueError:  # sub-folders that are no classes
        return Folder(path, size, channels, classes=False)
    whole = not found.found.beside or set(found.class_names) == set(map(composed, known))
    return found if whole else Folder(path, size, channels, classes=False)


def named_images(name: str) -> ImageSet | None:
    """The images of a set that has a name; None where it is no such name, or a folder of that name is there."""
    return NAMED_SETS[name].load() if name in NAMED_SETS and not Path(name).exists() else None


def own_test_set(size: tuple[int, int], channels: int, argument: str = "against") -> str:
    """The name of the test images that ship for pipelines of such images. ValueError, which names the argument, where none do."""
    name = SET_OF[shipped_name(size, channels)]
    images = NAMED_SETS[name].load()
    if (images.size, images.channels) != (tuple(size), channels):
        grey = "in colour" if channels == 3 else "in grey"
        raise ValueError(f"{argument}: no test images of {size[1]} x {size[0]} {grey} ship; name a folder of images")
    return name


def train_and_test(images: ImageSet, name: str) -> tuple[ImageSet, ImageSet]:
    """Images to learn from and others to test on: those that belong to a named set, else every tenth, drawn at random."""
    if name in NAMED_SETS and NAMED_SETS[name].test:
        return images, NAMED_SETS[NAMED_SETS[name].test].load()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    few = len(order) // 10
    if few < 1:
        raise ValueError(f"against: {name} has {len(order)} images; give at least ten")
    return Subset(images, order[few:]), Subset(images, order[:few])


class Subset(ImageSet):
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
