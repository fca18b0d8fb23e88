"""A folder of sounds or clips as a data set of signals of one size, into which each file is cut.

Sub-folders are classes, as for pictures (`images.scan`).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bitmosaic.images.base import ImageSet, ImagesGone
from bitmosaic.images.contents import Contents
from bitmosaic.images.read import UnreadableImage
from bitmosaic.images.scan import scan
from bitmosaic.images.specs import ImagesSpec
from bitmosaic.media.base import Medium
from bitmosaic.media.waves import Waves


class SignalFolder(ImageSet):
    """The signals below a folder.

    Every file is read once at the start to count its signals; as many as fit into `cache_bytes` stay in memory. ValueError where there is
    no such folder, or no file in it that can be read.
    """

    def __init__(
        self, path: str | os.PathLike, medium: Medium, size: tuple[int, ...], channels: int, classes: bool = True,
        cache_bytes: int = 2**30,
    ):  # fmt: skip
        medium.check_size(size)
        self.path, self.medium, self.size, self.channels, self.stored = Path(path).expanduser(), medium, size, channels, medium.stored
        self.found = scan(self.path, classes, known=medium.endings)
        self.class_names, self.unreadable = self.found.class_names, {}
        self._room, self._kept, self._last = cache_bytes, {}, {}
        self._readable: set[int] = set()  # files that could be read at the start
        self.of: list[tuple[int, int]] = []  # of each signal: its file, and its number within the file
        for number in range(len(self.found.names)):
            parts = len(self._parts(number))
            self.of += [(number, part) for part in range(parts)]
            if parts:
                self._readable.add(number)
        if not self.of:
            first, reason = next(iter(self.unreadable.items()))
            count = len(self.found.names)
            raise ValueError(f"path: {self.path} has no file that can be read among {count}, the first is {first} ({reason})")
        labels = self.found.labels
        self.labels = None if labels is None else labels[torch.tensor([number for number, _ in self.of])]

    def __len__(self) -> int:
        return len(self.of)

    def image(self, index: int) -> Tensor | None:
        number, part = self.of[index]
        parts = self._parts(number)
        return parts[part] if part < len(parts) else None

    def _parts(self, number: int) -> list[Tensor]:
        """The signals of a file; none where it cannot be read. ImagesGone where it could be read at the start."""
        file = str(self.found.files[number])
        if number in self._kept:
            return self._kept[number]
        if number in self._last:
            return self._last[number]
        if file in self.unreadable:
            return []
        try:
            parts = self.medium.parts(file, self.size, self.channels)
        except UnreadableImage as error:
            if number in self._readable:
                raise ImagesGone(1, len(self.found.names), file) from error
            self.unreadable[file] = error.reason
            return []
        taken = sum(part.nbytes for part in parts)
        if taken <= self._room:
            self._room -= taken
            self._kept[number] = parts
        else:
            self._last = {number: parts}  # a cache of one file, for reading in order
        return parts

    def check_there(self) -> None:
        gone = [file for file in map(str, self.found.files) if file not in self.unreadable and not os.path.isfile(file)]
        if gone:
            raise ImagesGone(len(gone), len(self.found.names), gone[0])

    def fingerprint(self) -> str:
        """SHA-256 over the contents of the files, in order, their classes, and how signals are cut from them."""
        digest = hashlib.sha256(repr((self.medium, self.size, self.channels, self.class_names)).encode(errors="surrogateescape"))
        digest.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        digest.update(Contents.of(self.path, self.found.names).sums.tobytes())
        return digest.hexdigest()

    def summary(self) -> str:
        files = len(self.found.names)
        what = f"{len(self)} {self.medium.plural} of {self.medium.about(self.size)} in {files} file{'s'[: files > 1]}"
        return f"{what}, {len(self.class_names) or 'no'} classes"

    def told(self) -> list[str]:
        return self.found.told()


@dataclass(frozen=True)
class SignalFolderSpec(ImagesSpec):
    """A folder of sounds or clips; sub-folders are classes."""

    path: str = "."
    medium: Medium = Waves()
    size: tuple[int, ...] = (8192,)  # of a signal along each axis of its medium
    channels: int = 1
    classes: bool = True  # False: every file below the folder is taken, without classes

    def build(self) -> ImageSet:
        return SignalFolder(self.path, self.medium, self.size, self.channels, self.classes)
