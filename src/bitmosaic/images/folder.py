"""A folder of pictures, of any sizes and formats, as a set of images of one size."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from .base import ImageSet, ImagesGone
from .captions import captions_of
from .contents import Contents
from .formats import GREY, plug_in
from .read import Size, UnreadableImage, as_size, check_channels, read_image
from .scan import scan


class Folder(ImageSet):
    """The pictures below a folder, centre-cropped to one size.

    path: with images in sub-folders, each sub-folder is a class; with images in the folder itself there are no classes (see `scan`).
    classes: whether sub-folders are classes; where not, all images below are taken. size: a side or (height, width). Decoded images stay
    in memory up to cache_bytes, so that later epochs are fast. captions: "beside" where name.txt lies beside name.png, or a file of them
    (see `captions`); empty: none. `found`: the scan, which says what is not used.
    ValueError if there is no such folder, if it holds no images, if a class has no readable one, or if captions are wanted and there is
    none.
    """

    def __init__(
        self, path: str | os.PathLike, size: Size, channels: int = 3, cache_bytes: int = 2**30, classes: bool = True,
        captions: str = "",
    ):  # fmt: skip
        self.size, self.channels = as_size(size), check_channels(channels)
        self.path = Path(path).expanduser()
        self.found = scan(self.path, classes)
        self.files, self.labels, self.class_names = tuple(self.found.files), self.found.labels, self.found.class_names
        self.found_captions = captions_of(captions, self.found) if captions else None
        self.captions = self.found_captions.texts if self.found_captions else None
        self.unreadable = {}
        self._absent = frozenset(str(file) for file in self.files if not os.access(file, os.R_OK))  # from the start, as a dangling link
        self._contents: Contents | None = None
        self._kept: dict[int, Tensor] = {}
        self._room = cache_bytes // (self.channels * self.size[0] * self.size[1])
        self._check_readable()

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Tensor | None:
        file = str(self.files[index])
        if file in self.unreadable:
            return None
        if index in self._kept:
            return self._kept[index]
        try:
            image = read_image(file, self.size, self.channels)
        except UnreadableImage as error:
            if file not in self._absent and (error.gone or self._is_other(index)):
                raise self._gone(file) from error
            self.unreadable[file] = error.reason
            return None
        if len(self._kept) < self._room:
            self._kept[index] = image
        return image

    def told(self) -> list[str]:
        return self.found.told() + (self.found_captions.told() if self.found_captions else [])

    def check_there(self) -> None:
        gone = next((file for file in map(str, self.files) if file not in self._absent and not os.path.isfile(file)), None)
        if gone is not None:
            raise self._gone(gone)

    def _is_other(self, index: int) -> bool:
        """Whether a file holds something else than what `contents` found, as one that a full or failing disk has emptied."""
        before = self._contents
        return before is not None and Contents.of(self.path, [before.names[index]]).sums.tobytes() != before.sums[index].tobytes()

    def _gone(self, first: str) -> ImagesGone:
        """What to raise where a file is, or all are that are found to be."""
        every = [file for file in map(str, self.files) if file not in self._absent]
        count = sum(not os.path.isfile(file) for file in every)
        return ImagesGone(max(1, count), len(every), first)

    def contents(self, kept: Contents | None = None, on_files: Callable[[int], object] = int) -> Contents:
        """A checksum of every file, by its name below the folder; files that are as in `kept` (of an earlier time) are not read again."""
        if self._contents is None:
            root = "" if str(self.path) == "." else os.path.join(self.path, "")
            names = [str(file)[len(root) :].replace(os.sep, "/") for file in self.files]
            self._contents = Contents.of(self.path, names, kept, on_files)
        return self._contents

    def fingerprint(self) -> str:
        """Over what the files hold, in their order, their classes, captions, the image size and channels. Where the folder lies, what the
        files are called and when they were written makes no difference, nor do links. Reads every file once, unless `contents` was asked.
        """
        digest = hashlib.sha256(repr((self.size, self.channels, self.class_names)).encode(errors="surrogateescape"))
        digest.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        digest.update(self.contents().sums.tobytes())
        digest.update(self.found_captions.fingerprint().encode() if self.found_captions else b"")
        return digest.hexdigest()

    def times_fingerprint(self) -> str:
        """What `fingerprint` was before it was over contents: over the relative paths, sizes and times of the files."""
        digest = hashlib.sha256(repr((self.size, self.channels, self.class_names)).encode())
        for file in self.files:
            digest.update(os.fsencode(file.relative_to(self.path).as_posix()) + b"\0")
            try:
                found = file.stat()
                digest.update(f"{found.st_size} {found.st_mtime_ns}\n".encode())
            except OSError:
                digest.update(b"missing\n")
        return digest.hexdigest()

    def _check_readable(self) -> None:
        """Reads until there is one readable image, for each class where there are classes."""
        labels = [0] * len(self) if self.labels is None else self.labels.tolist()
        wanted = dict.fromkeys(labels)
        for index, label in enumerate(labels):
            if label in wanted and self.image(index) is not None:
                del wanted[label]
        for label in wanted:
            tried = [str(file) for file, of in zip(self.files, labels, strict=True) if of == label]
            where = f"class {self.class_names[label]!r} of {self.path}" if self.class_names else str(self.path)
            raise ValueError(
                f"path: {where} has no readable image among {len(tried)}, the first is {tried[0]} "
                f"({self.unreadable[tried[0]]}); put in one that can be opened, or take the folder away"
            )


def look(files: Sequence[Path]) -> tuple[list[int], bool]:
    """The shorter sides in pixels of those files that open, and whether any has colour; headers only, no pixels."""
    sides, colour = [], False
    plug_in()
    for file in files:
        if not os.path.isfile(file):  # opening a pipe, which came here since the scan, would wait for ever
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(file) as image:
                    sides.append(min(image.size))
                    colour = colour or image.mode not in GREY
        except Exception:  # whatever a decoder says of a broken file: it is named when it is read
            continue
    return sides or [1], colour
