"""A file of labels: a line for each image, its name and its class, with a tab, a comma, a semicolon or blanks between them."""

from __future__ import annotations

import codecs
import csv
import functools
import hashlib
import re
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath

from bitmosaic.names import composed, plain

from .formats import endings
from .scan import class_name

MOST = 1_000_000  # classes that labels without names may have
NAMES = {  # what the column of names is called in a header, in small letters without blanks, dots and the like
    "name", "file", "filename", "filepath", "path", "image", "imagename", "imageid", "imagepath", "imagefile", "img", "imgname", "imgid",
    "imgpath", "id", "photo", "picture", "key", "uuid", "sample", "fname",
}  # fmt: skip
CLASSES = {
    "label", "labels", "labelid", "labelname", "class", "classes", "classid", "classname", "category", "categoryid", "target", "y", "tag",
    "breed", "species", "kind", "type",
}  # fmt: skip


class LabelFile:
    """Labels by the names of images: as they stand in the file, without their ending, or without their folders.

    Where every class is a whole number, these are the labels; else classes are numbered by name, which is the text that it would be as a
    folder's. A header is no label. bad: lines that say no name and class, or another class of a name that came before. ValueError where
    no line can be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        if self.path.exists() and not self.path.is_file():  # reading a pipe might wait for ever
            raise ValueError(plain(f"labels: {self.path} is no plain file; give a file with a name and a class on each line"))
        try:
            data = self.path.read_bytes()
        except OSError as error:
            what = f"labels: cannot read {self.path} ({error.strerror}); give a file with a name and a class on each line"
            raise ValueError(plain(what)) from error
        rows = [line for line in _text(data).splitlines() if line.strip() and not line.startswith("#")]
        self._header = rows.pop(0) if _is_header(rows) else None
        self._columns = _columns(self._header)
        self.fingerprint = hashlib.sha256(data if self._header is None else b"header\n" + data).hexdigest()
        self._read(rows)
        if not self.labels:
            raise ValueError(plain(f"labels: {self.path} has no line with a name and a class, such as 'photos/7.png cat'"))

    def _read(self, rows: list[str]) -> None:
        self._rows, self.bad = rows, 0
        found: dict[str, str] = {}
        for row in rows:
            name, label = _pair(row, self._columns)
            label = class_name(label)
            if not name or not label or found.setdefault(path_key(name), label) != label:
                self.bad += 1
        self.class_names = class_names(set(found.values())) if found else ()
        numbers = {name: i for i, name in enumerate(self.class_names)}
        self.labels = {name: numbers[_number(label)] for name, label in found.items()}

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int:
        """The label of an image by its path, -1 where the file has none: as much of the path as the file says, with or without ending."""
        key = matched(self.labels, name)
        return -1 if key is None else self.labels[key]

    def fit(self, names: Iterable[str], what: str) -> None:
        """Holds the file against the paths of the images there are; `what`: where they lie. A first line that fits none, names no picture
        and says a class of its own is a header too. ValueError where no line fits an image.
        """
        names = list(names)
        if not any(self.find(name) >= 0 for name in names):
            raise ValueError(self.strange(what, PurePosixPath(names[0]).name if names else ""))
        if self._header is None and len(self._rows) > 1:
            name, label = _pair(self._rows[0], self._columns)
            others = {_pair(row, self._columns)[1] for row in self._rows[1:]}
            if label and label not in others and not _is_picture(name) and not any(_ends_with(image, name) for image in names):
                self.fingerprint = hashlib.sha256(b"header\n" + self.fingerprint.encode()).hexdigest()
                self._header = self._rows[0]
                self._read(self._rows[1:])

    def strange(self, what: str, image: str = "") -> str:
        """What to say where no line fits an image of `what`, such as `image`."""
        beside = f", an image is called {image!r}" if image else ""
        said = f"the first line names {next(iter(self.labels))!r}{beside}"
        return plain(f"labels: no line of {self.path} fits an image in {what}: {said}; give the file of these images")


def matched(known: Container[str], name: str) -> str | None:
    """Which of the names in a file is that of an image by its path: as much of the path as the file says, with or without ending."""
    parts = PurePosixPath(path_key(name)).parts
    for start in range(len(parts)):
        part = "/".join(parts[start:])
        for one in (part, part.removesuffix(PurePosixPath(part).suffix)):
            if one in known:
                return one
    return None


def class_names(classes: set[str]) -> tuple[str, ...]:
    """Names of the classes, in the order of their numbers: themselves, sorted, or 0 to the highest where all are numbers."""
    if all(_is_number(name) for name in classes):
        return tuple(str(i) for i in range(1 + max(map(int, classes))))
    return tuple(sorted(classes))


def class_number(text: bytes, below: int) -> int:
    """The class in a `.cls` file, -1 where it is no whole number from 0 to `below`."""
    found = re.fullmatch(rb"\s*(\d{1,7})\s*", text)
    return int(found[1]) if found and int(found[1]) < below else -1


def _text(data: bytes) -> str:
    """UTF-8, or what a byte-order mark says, as spreadsheets write it; bytes of neither stay, as those of file names do."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _cells(row: str) -> list[str]:
    """The columns of a row of a table; one where it is none."""
    mark = next((mark for mark in "\t,;" if mark in row), None)
    if mark is None:
        return [row.strip()]
    return [cell.strip() for cell in next(csv.reader([row], delimiter=mark, skipinitialspace=True), [])]


@functools.cache
def _marks() -> tuple[re.Pattern[str], ...]:
    """How a name and a class may stand on a line, the surest way first: what is quoted; after a tab; after the ending of a picture."""
    picture = rf"(.*?\.(?:{'|'.join(re.escape(ending[1:]) for ending in sorted(endings()))}))"
    plain_ = (r"(.*?),(.*)", r"(.*?);(.*)", r"(\S+)\s+(.*)")
    marks = (r'"(.*?)"\s*[\t,; ](.*)', r"(.*?)\t(.*)", rf"{picture}\s*[,;](.*)", rf"{picture}\s+(.*)", *plain_)
    return tuple(re.compile(mark, re.IGNORECASE) for mark in marks)


def _pair(row: str, columns: tuple[int, int] | None) -> tuple[str, str]:
    """A name and a class, empty where there is none. columns: theirs, where the header of a table says so."""
    if columns is not None:
        cells = _cells(row)
        return (cells[columns[0]], cells[columns[1]]) if len(cells) > max(columns) else ("", "")
    found = next((match for mark in _marks() if (match := mark.fullmatch(row.strip()))), None)
    return (found[1].strip(), found[2].strip().strip('"').strip()) if found else ("", "")


def _is_header(rows: list[str]) -> bool:
    """Whether the first row names columns: by its words; or it alone names no picture, or says no number."""
    if len(rows) < 2:
        return False
    if all(at is not None for at in _named(_words(rows[0]))):
        return True
    (name, label), others = _pair(rows[0], None), [pair for pair in (_pair(row, None) for row in rows[1:]) if all(pair)]
    if not label or not others or _is_picture(name):
        return False
    if all(_is_picture(other) for other, _ in others):
        return all(label != other for _, other in others)
    return not _is_number(label) and all(_is_number(other) for _, other in others)


def _columns(header: str | None) -> tuple[int, int] | None:
    """Which columns of a table hold the name and the class, where these are not the only ones, in this order."""
    cells = _cells(header) if header else []
    name, label = _named([column_word(cell) for cell in cells])
    return None if name is None or label is None or (len(cells) == 2 and name < label) else (name, label)


def _named(words: list[str]) -> tuple[int | None, int | None]:
    """Where the words are that name a column of names, and one of classes."""
    name = next((i for i, word in enumerate(words) if word in NAMES), None)
    return name, next((i for i, word in enumerate(words) if word in CLASSES and i != name), None)


def _words(row: str) -> list[str]:
    cells = _cells(row)
    return [column_word(cell) for cell in (cells if len(cells) > 1 else row.split())]


def column_word(cell: str) -> str:
    return re.sub(r"[\W_]", "", cell.casefold())


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in endings()


def path_key(name: str) -> str:
    """A path as it is compared: with slashes, but none before it, and composed."""
    return composed(name.replace("\\", "/").removeprefix("./").lstrip("/"))


def _ends_with(image: str, name: str) -> bool:
    """Whether a name, with or without ending, is the end of an image's path."""
    path = "/" + path_key(image)
    return path.endswith("/" + path_key(name)) or path.removesuffix(PurePosixPath(path).suffix).endswith("/" + path_key(name))


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[0-9]{1,7}", name) is not None and int(name) < MOST


def _number(name: str) -> str:
    return str(int(name)) if _is_number(name) else name
