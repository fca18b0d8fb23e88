"""A folder of pictures, of any sizes and formats; each sub-folder is a class."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .base import ImageSet, ImagesGone
from .contents import Contents
from .read import Size, UnreadableImage, as_size, check_channels, read_image

GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"}  # modes without colour
_NO_DECODER = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow names but cannot decode by itself


class Folder(ImageSet):
    """The pictures below a folder, centre-cropped to one size.

    path: with images in sub-folders, each sub-folder is a class; with images in the folder itself there are no classes.
    size: a side or (height, width). Decoded images stay in memory up to cache_bytes, so that later epochs are fast.
    ValueError if there is no such folder, if it holds no images, or if a class has no readable one.
    """

    def __init__(self, path: str | os.PathLike, size: Size, channels: int = 3, cache_bytes: int = 2**30):
        self.size, self.channels = as_size(size), check_channels(channels)
        self.path = Path(path).expanduser()
        self.files, self.labels, self.class_names = scan(self.path)
        self.unreadable = {}
        self._absent = frozenset(str(file) for file in self.files if not os.access(file, os.R_OK))  # from the start, as a dangling link
        self._contents: Contents | None = None
        self._kept: dict[int, Tensor] = {}
        self._room = cache_bytes // (self.channels * self.size[0] * self.size[1])
        if self.class_names:
            self.unreadable.update((str(file), "lies beside the classes, in none of them") for file in listed(self.path)[0])
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
            if error.gone and file not in self._absent:
                raise self._gone(file) from error
            self.unreadable[file] = error.reason
            return None
        if len(self._kept) < self._room:
            self._kept[index] = image
        return image

    def check_there(self) -> None:
        gone = next((file for file in map(str, self.files) if file not in self._absent and not os.path.isfile(file)), None)
        if gone is not None:
            raise self._gone(gone)

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
        """Over what the files hold, in their order, their classes, the image size and channels. Where the folder lies, what the files are
        called and when they were written makes no difference, nor do links. Reads every file once, unless `contents` was asked before.
        """
        digest = hashlib.sha256(repr((self.size, self.channels, self.class_names)).encode(errors="surrogateescape"))
        digest.update(b"" if self.labels is None else self.labels.numpy().tobytes())
        digest.update(self.contents().sums.tobytes())
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


def scan(
    path: str | os.PathLike, entered: dict[Path, int] | None = None
) -> tuple[tuple[Path, ...], Tensor | None, tuple[str, ...]]:
    """Finds the images below a folder: (files sorted by name, labels (n,) int64 or None, class names).

    A class is a sub-folder directly in path, with its images at any depth. Names that begin with a dot and files whose
    ending is of no picture format are passed over, as are images that lie beside classes, in none of them (`Folder` names them as
    unreadable). A linked folder is entered once in each class. `entered` gets each folder that was looked into, and its time.
    ValueError says what the folder lacks.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"path: {root} {what}; give a folder of images, or of one sub-folder of images for each class")
    entered = {} if entered is None else entered
    loose, folders = listed(root, entered)
    classes = {folder.name: _images_below(folder, root, entered) for folder in folders}
    if loose and not any(classes.values()):
        return tuple(loose), None, ()
    if not any(classes.values()):
        what = "holds no images" if os.listdir(root) else "is empty"
        raise ValueError(f"path: {root} {what}; put in files such as .png or .jpg")
    for name, files in classes.items():
        if not files:
            raise ValueError(f"path: class {name!r} of {root} has no image; put one in, or take the sub-folder away")
    files = tuple(file for found in classes.values() for file in found)
    labels = torch.tensor([label for label, found in enumerate(classes.values()) for _ in found])
    return files, labels, tuple(classes)


def _images_below(folder: Path, root: Path, entered: dict[Path, int]) -> list[Path]:
    """Images at any depth; each real folder is entered once and the root never, so links cannot lead in circles."""
    seen, found, waiting = {_identity(root)}, [], [folder]
    while waiting:
        here = waiting.pop()
        if _identity(here) in seen:
            continue
        seen.add(_identity(here))
        files, folders = listed(here, entered)
        found += files
        waiting += reversed(folders)
    return sorted(found, key=lambda file: file.parts)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def listed(folder: Path, entered: dict[Path, int] | None = None) -> tuple[list[Path], list[Path]]:
    """The images and the sub-folders directly in a folder, by name; `entered` gets the folder's time."""
    try:
        if entered is not None:
            entered[folder] = folder.stat().st_mtime_ns  # before it is listed: what comes later changes it
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise ValueError(f"path: cannot list {folder} ({error.strerror}); make it readable, or take it away") from error
    known = endings()
    paths = [folder / name for name in names]
    folders = [path for path in paths if os.path.isdir(path)]
    return [path for path in paths if path.suffix.lower() in known and not os.path.isdir(path)], folders


def endings() -> set[str]:
    """The file endings of the formats that Pillow reads (MPO is read as JPEG)."""
    known = Image.registered_extensions().items()
    return {ending for ending, name in known if (name in Image.OPEN or name == "MPO") and name not in _NO_DECODER}


def look(files: Sequence[Path]) -> tuple[list[int], bool]:
    """The shorter sides in pixels of those files that open, and whether any has colour; headers only, no pixels."""
    sides, colour = [], False
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(file) as image:
                    sides.append(min(image.size))
                    colour = colour or image.mode not in GREY
        except Exception:  # whatever a decoder says of a broken file: it is named when it is read
            continue
    return sides or [1], colour
