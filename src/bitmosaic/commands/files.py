"""Files of commands: images that the user names; output that is written completely or not at all, and never replaces the user's own files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bitmosaic.disk import writing
from bitmosaic.folders import read_json
from bitmosaic.images import SOFTWARE, Fit, ImageSet, UnreadableImage, check_sizes, scan
from bitmosaic.images.write import software
from bitmosaic.media import PICTURES, Medium, Waves
from bitmosaic.media.base import notes_of
from bitmosaic.names import composed, plain

__all__ = [
    "SOFTWARE", "Files", "check_free", "file_name", "sweep", "tell_unreadable", "tell_used", "unlike", "written_by_us",
    "written_into",
]
LOCK = ".lock"  # in the temporary folder in which files are written before they move


class Files(ImageSet):
    """Pictures in files and below folders, in the order named; each is read when it is accessed.

    Folders are scanned by `images.scan`, and sub-folders are not classes. fit: exact refuses pictures of another size than (height,
    width), by their headers before any is read, and those in colour where channels is 1; crop takes the centre, scales it, and converts
    it to grey. ValueError where there are no pictures, or one does not fit.
    """

    labels, class_names = None, ()

    def __init__(
        self, paths: Sequence[Path], size: tuple[int, ...], channels: int, fit: Fit = "exact", background: str = "white",
        check: bool = True, medium: Medium = PICTURES,
    ):  # fmt: skip
        """check: whether sizes are checked now, or only as pictures are read. medium: of the files."""
        self.size, self.channels, self.fit, self.background, self.unreadable = size, channels, fit, background, {}
        self.medium, self.stored = medium, medium.stored
        if not paths:
            raise ValueError("images: none are named; give files such as .png or .jpg, or folders of them")
        self._told: list[str] = []
        found = [pair for path in paths for pair in self._below(Path(path).expanduser())]
        self.files = [file for file, _ in found]
        self.names = unlike([str(name.with_suffix("")) for _, name in found])  # without their endings
        if fit == "exact" and check and medium == PICTURES:
            check_sizes(self.files, tuple(size))

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Tensor | None:
        file = str(self.files[index])
        try:
            return None if file in self.unreadable else self.medium.fitted(file, self.size, self.channels, self.fit, self.background)
        except UnreadableImage as error:
            self.unreadable[file] = error.reason
            return None

    def fingerprint(self) -> str:
        """SHA-256 over the paths alone."""
        return hashlib.sha256("\0".join(map(str, self.files)).encode(errors="surrogateescape")).hexdigest()

    def told(self) -> list[str]:
        return self._told

    def _below(self, path: Path) -> list[tuple[Path, Path]]:
        """Files, and their paths below the folder that was named. ValueError where `path` does not exist."""
        if path.is_dir():
            try:
                found = scan(path, classes=False, known=self.medium.endings)
            except ValueError as error:
                raise ValueError(f"images: {str(error).removeprefix('path: ')}") from error
            self._told += found.told()
            return [(path / name, Path(name)) for name in found.names]
        if not path.is_file():
            what = f"{path} is no plain file" if os.path.lexists(path) else f"there is no {path}"
            raise ValueError(plain(f"images: {what}; give files such as .png or .jpg, or folders of them"))
        return [(path, Path(path.name))]


def tell_used(lines: Sequence[str]) -> None:
    """Prints the lines of `ImageSet.told` before the work begins: what is used of a folder, as which class, and what is not."""
    for line in lines:
        print(line, flush=True)


def tell_unreadable(images: ImageSet) -> None:
    """Prints one line to stderr with the images that were skipped, if there were any."""
    if images.unreadable:
        print(f"bitmosaic: {images.unreadable_summary()}", file=sys.stderr)


def unlike(names: Sequence[str]) -> list[str]:
    """The names, made unique by numbers: a, b, a -> a, b, a-2."""
    taken = set(names)
    seen, found = set(), []
    for name in names:
        number, new = 2, name
        while new in seen or (new != name and new in taken):
            number, new = number + 1, f"{name}-{number}"
        seen.add(new)
        found.append(new)
    return found


def file_name(text: str) -> str:
    """Text as a portable file name: 'ankle boot' -> 'ankle-boot'. Letters of any script stay, with their combining marks."""
    text = "".join(c if unicodedata.category(c)[0] == "M" else re.sub(r"[^\w.]", " ", c) for c in composed(text))
    name = "-".join(text.split()).strip("-.").encode()[:180].decode(errors="ignore")  # file systems count bytes
    return name.rstrip("-.") or "image"


@contextmanager
def written_into(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """A temporary folder for files of these names, which move into `folder` when the block succeeds; where it fails nothing changes.

    ValueError, before anything is written, where a file that would be replaced was not written by bitmosaic.
    """
    folder, names = Path(folder).expanduser().absolute(), list(names)
    for name in names:
        check_free(folder, Path(name))
    sweep(folder)
    new = [place for place in (folder, *folder.parents) if not place.exists()]  # innermost first
    beside = folder / f".{uuid.uuid4().hex[:8]}.new"
    try:
        beside.mkdir(parents=True)
        with FileLock(beside / LOCK):
            with writing(folder):
                yield beside
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).replace(folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for place in new:  # does nothing where files have moved in
            with suppress(OSError):
                place.rmdir()


def sweep(folder: Path) -> None:
    """Removes temporary folders that `written_into` of killed processes has left: those whose lock no process holds."""
    for beside in folder.glob(".????????.new"):
        if not re.fullmatch(r"\.[0-9a-f]{8}\.new", beside.name) or beside.is_symlink() or not beside.is_dir():
            continue
        with suppress(OSError):  # locked by another process, or not removable
            if (beside / LOCK).exists():
                with FileLock(beside / LOCK, timeout=0):
                    pass
            elif time.time() - beside.stat().st_mtime < 3600:  # just made, or of an earlier version, which had no lock
                continue
            shutil.rmtree(beside, ignore_errors=True)


def check_free(folder: Path, name: Path) -> None:
    """ValueError where the file to be written would replace one that bitmosaic did not write."""
    for place in (folder / name).parents:
        if place.exists() and not place.is_dir():
            raise ValueError(f"out: {place} is a file; give a folder")
    if os.path.lexists(folder / name) and not written_by_us(folder / name):
        raise ValueError(
            f"out: {folder / name} exists and was not written by bitmosaic, so it is left as it is; give another place"
        )


def written_by_us(path: Path) -> bool:
    """Whether a file names bitmosaic as the software that wrote it."""
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    try:
        if path.suffix in (".png", ".gif"):
            found = software(path)
            found = notes_of(found).get("Software") if found.startswith("{") else found
        elif path.suffix == ".wav":
            found = Waves().notes(path).get("Software")
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                found = (file.metadata() or {}).get("software")
        elif path.suffix == ".html":
            return 'content="bitmosaic ' in path.read_text(encoding="utf-8")[:1000]
        elif path.suffix == ".bmc":
            return path.read_bytes()[:3] == b"bmc"
        else:
            found = read_json(path).get("software")
    except (OSError, ValueError, AttributeError, SafetensorError):
        return False
    return isinstance(found, str) and found.startswith("bitmosaic ")
