"""Sources of 'bitmosaic tokenize': images in pieces, each of which becomes one shard."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmosaic.images import ImageSet
from bitmosaic.images.captions import Captions
from bitmosaic.images.labels import MOST, LabelFile, class_number
from bitmosaic.images.scan import Scan, some
from bitmosaic.images.tars import SkippedMembers, open_tars, samples


@dataclass(frozen=True)
class Item:
    """An image as `read_image` takes it, and its label; -1: none, or one that does not match. None: a label without an image."""

    name: str
    image: Any
    label: int
    unmatched: bool = False  # there is a label, but it is no class
    caption: str | bytes | None = None  # bytes: of a file, as they are; None: there is none


class Source(abc.ABC):
    """Pieces of images. class_names: None where they are known at the end only, as numbers."""

    class_names: tuple[str, ...] | None
    data: str  # as the user named it
    file: LabelFile | None
    captioned = False  # whether captions are kept
    beside = 0  # images that lie beside the classes, in none of them

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of pieces."""

    @abc.abstractmethod
    def piece(self, number: int, passed: SkippedMembers) -> Iterator[Item]:
        """Its images in order. BrokenTar, after those that are good, where it breaks off."""

    @abc.abstractmethod
    def name(self, number: int) -> str:
        """What a piece is called in a report."""

    def told(self) -> list[str]:
        """What of a folder is used, as which class, and what is not: a line each."""
        return []

    def missing(self, numbers: Iterable[int]) -> list[str]:
        """Names of those of the pieces that are not there, as far as this can be told without opening them."""
        return []

    @abc.abstractmethod
    def about(self) -> dict[str, Any]:
        """What must be the same when the work goes on."""


class ListedImages(Source):
    """Images of a set or a folder, by number, `each` to a piece."""

    def __init__(self, found: ImageSet | Scan, data: str, each: int, labels: LabelFile | None, captions: Captions | None = None):
        self.found, self.data, self.each, self.file = found, data, each, labels
        self.count = len(found.names) if isinstance(found, Scan) else len(found)
        if labels:
            labels.fit([str(path) for path in found.files] if isinstance(found, Scan) else map(self._name, range(self.count)), data)
        self.class_names = labels.class_names if labels else found.class_names
        self.beside = found.beside if isinstance(found, Scan) else 0
        self.captions, self.captioned = captions, captions is not None

    def __len__(self) -> int:
        return -(-self.count // self.each)

    def piece(self, number: int, passed: SkippedMembers) -> Iterator[Item]:
        for i in range(number * self.each, min(self.count, (number + 1) * self.each)):
            if isinstance(self.found, Scan):
                name, image = self.found.names[i], self.found.root / self.found.names[i]
            else:
                name, image = self._name(i), self.found.image(i)
            own = -1 if self.found.labels is None else int(self.found.labels[i])
            label = self.file.find(str(image) if isinstance(image, Path) else name) if self.file else own
            yield Item(name, image, label, caption=self.captions.texts[i] if self.captions else None)

    def told(self) -> list[str]:
        lines = self.found.told()
        if self.file:
            lines.append(f"classes of {self.file.path}: {some(self.class_names)}")
        if self.captions:
            lines += self.captions.told()
        return lines

    def _name(self, i: int) -> str:
        """What an image of a set is called that lies in no files."""
        return f"{self.data}:{i}"

    def name(self, number: int) -> str:
        return f"images {number * self.each} to {min(self.count, (number + 1) * self.each) - 1}"

    def about(self) -> dict[str, Any]:
        kept = {"captions": self.captions.fingerprint()} if self.captions else {}
        return {"data": self.data, "images": self.found.fingerprint(), "each": self.each, **kept}


class Tars(Source):
    """Tar shards, each a piece. classes: labels are below it; None: as they are found. captions: those in .txt files are kept."""

    def __init__(self, data: str, labels: LabelFile | None, classes: int | None, captions: bool = False):
        self.captioned = captions
        self.data, self.file, self.classes, self.files = data, labels, classes, open_tars(data)
        self.class_names = labels.class_names if labels else tuple(map(str, range(classes))) if classes is not None else None

    def __len__(self) -> int:
        return len(self.files)

    def piece(self, number: int, passed: SkippedMembers) -> Iterator[Item]:
        for sample in samples(self.files[number], passed, self.captioned):
            if self.file:
                label, unmatched = self.file.find(sample.name), False
            else:
                label = -1 if sample.label is None else class_number(sample.label, MOST if self.classes is None else self.classes)
                unmatched = sample.label is not None and (label < 0 or sample.image is None)
            yield Item(sample.name, sample.image, label, unmatched, sample.caption)

    def name(self, number: int) -> str:
        return self.files[number].full_name

    def missing(self, numbers: Iterable[int]) -> list[str]:
        local = (self.files[i].path for i in numbers if getattr(self.files[i].fs, "local_file", False))
        return [path for path in local if not os.path.isfile(path)]

    def about(self) -> dict[str, Any]:
        kept = {"captions": True} if self.captioned else {}
        return {"data": self.data, "tars": [self.name(i) for i in range(len(self))], "classes": self.classes, **kept}


def root_of(source: Source) -> Path | None:
    """The folder that images are read from, where there is one."""
    return source.found.root if isinstance(source, ListedImages) and isinstance(source.found, Scan) else None
