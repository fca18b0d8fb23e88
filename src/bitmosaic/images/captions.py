"""Captions of pictures: name.txt beside name.png, or one file, CSV or JSON Lines, with a picture and its caption in each row.

A caption is text in UTF-8 (or as a byte-order mark says) on one line: any white space counts as one blank. A picture has one caption;
what does not fit is counted and reported with the first names, and nothing is guessed.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bitmosaic.names import plain

from .labels import NAMES, column_word, matched, path_key
from .scan import Scan
from .walk import UnusedFiles

BESIDE = "beside"  # in the place of a file's name: each caption is in a file beside its picture
LONGEST = 2**16  # bytes of a caption
TEXTS = {"caption", "captions", "text", "prompt", "description", "alttext", "alt", "title", "sentence"}  # column names, as in `labels`
EMPTY, TOO_LONG, TWICE, OTHER, ABSENT, BAD = (
    "empty captions", "captions of more than 65,536 bytes", "lines that come twice", "further captions of a picture that has one",
    "captions of pictures that are not there", "lines without a picture and a caption",
)  # fmt: skip


@dataclass(frozen=True)
class Captions:
    """texts: of each picture, "" where it has none."""

    source: str  # where they come from, for people
    texts: tuple[str, ...]
    left: UnusedFiles = field(default_factory=UnusedFiles)  # what was not used, by reason

    @property
    def without(self) -> int:
        """Pictures without a caption."""
        return sum(not text for text in self.texts)

    def fingerprint(self) -> str:
        """A hex digest of the texts."""
        return hashlib.sha256("\0".join(self.texts).encode("utf-8", "surrogatepass")).hexdigest()

    def told(self) -> list[str]:
        """How many there are, and what was of no use: a line each."""
        count, which = len(self.texts), f", {self.without:,} without" if self.without else ""
        lines = [f"{count - self.without:,} captions of {count:,} pictures, {self.source}{which}"]
        return [plain(line) for line in [*lines, *([f"of no use as captions: {self.left.text()}"] if self.left.counts else [])]]


def captions_of(where: str, scan: Scan) -> Captions:
    """Captions of the pictures of a scan, in their order. where: "beside", or a file.

    ValueError where there is no caption at all, and where a file cannot be read.
    """
    root, names = scan.root, scan.names
    found = _beside(root, names) if where == BESIDE else _from_file(Path(where).expanduser(), root, names)
    if not any(found.texts):
        what = f" ({found.left.text()})" if found.left.counts else ""
        give = "put name.txt beside name.png, or give a file of captions" if where == BESIDE else "give the file of these pictures"
        raise ValueError(plain(f"captions: no picture in {root} has a caption {found.source}{what}; {give}"))
    if where == BESIDE:
        scan.left.counts.pop(".txt files", None)  # which the scan counted as not used
    return found


def one_line(data: bytes) -> str:
    """The caption in a file's bytes. ValueError says what is wrong with them."""
    if len(data) > LONGEST:
        raise ValueError(TOO_LONG)
    return _in_one_line(decoded(data))


def decoded(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 where a byte-order mark says so. ValueError, short, names the first byte that is not."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not in UTF-8, such as byte 0x{data[error.start]:02x} in line {line}") from error


def _beside(root: Path, names: Sequence[str]) -> Captions:
    texts, left, read = [], UnusedFiles(), {}
    for name in names:
        path = str(PurePosixPath(name).with_suffix(".txt"))
        if path not in read:
            read[path] = _read(root / path, left)
        texts.append(read[path])
    return Captions("in .txt files beside them", tuple(texts), left)


def _read(path: Path, left: UnusedFiles) -> str:
    if not path.is_file():  # nor a pipe, which would wait for ever
        return ""
    try:
        with path.open("rb") as file:
            text = one_line(file.read(LONGEST + 1))
    except OSError as error:
        left.add(f"captions that cannot be read ({error.strerror})", path.name)
        return ""
    except ValueError as error:
        left.add(TOO_LONG if str(error) == TOO_LONG else "captions that are not in UTF-8", path.name)
        return ""
    if not text:
        left.add(EMPTY, path.name)
    return text


def _from_file(path: Path, root: Path, names: Sequence[str]) -> Captions:
    """The first caption of each picture that a file names."""
    if not path.is_file():
        what = "is no plain file" if path.exists() else "does not exist"
        raise ValueError(plain(f"captions: {path} {what}; give 'beside', or a file (CSV or JSON Lines) of pictures and captions"))
    try:
        text = decoded(path.read_bytes())
    except OSError as error:
        raise ValueError(plain(f"captions: cannot read {path} ({error.strerror}); give a file of pictures and captions")) from error
    except ValueError as error:
        raise ValueError(plain(f"captions: {path} is {error}; save it in UTF-8")) from error
    left, by_name = UnusedFiles(), {}
    rows = _json_rows(text, left) if path.suffix.lower() in (".jsonl", ".json", ".ndjson") else _table_rows(text, path, left)
    for name, caption in rows:
        key, caption = path_key(name), _in_one_line(caption)
        if not caption:
            left.add(EMPTY, name)
        elif key not in by_name:
            by_name[key] = caption
        else:
            left.add(TWICE if by_name[key] == caption else OTHER, name)
    keys = [matched(by_name, name) or matched(by_name, f"{root.name}/{name}") for name in names]
    for absent in sorted(by_name.keys() - set(keys)):
        left.add(ABSENT, absent)
    return Captions(f"in {path}", tuple(by_name[key] if key else "" for key in keys), left)


def _json_rows(text: str, left: UnusedFiles) -> Iterator[tuple[str, str]]:
    """Lines such as {"file_name": "a.png", "text": "a red heart"}."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            words, values = [column_word(key) for key in found], list(found.values())
        except (ValueError, AttributeError, RecursionError):
            words, values = [], []
        name, caption = (None if at is None else values[at] for at in _columns(words))
        if isinstance(name, str) and isinstance(caption, str) and name:
            yield name, caption
        else:
            left.add(BAD, f"line {number}")


def _table_rows(text: str, path: Path, left: UnusedFiles) -> Iterator[tuple[str, str]]:
    """Rows of a table with tabs, commas or semicolons between its columns, in quotes where a caption holds one; a header may name them."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = min("\t,;", key=lambda mark: (mark not in first, first.find(mark)))  # the first delimiter that occurs
    try:
        rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=mark, skipinitialspace=True) if any(row)]
    except csv.Error as error:
        raise ValueError(plain(f"captions: {path} is no table ({error}); give CSV with a picture and a caption in each row")) from error
    words = [column_word(cell) for cell in rows[0]] if rows else []
    name, caption = _columns(words)
    headed = name is not None and caption is not None
    if rows and len(rows[0]) > 2 and not headed:
        raise ValueError(plain(
            f"captions: {path} has {len(rows[0])} columns and no header that names them; begin it with a line such as "
            "'file,caption', or put captions that hold a comma in quotes"))  # fmt: skip
    for number, row in enumerate(rows[headed:], 1 + headed):
        at = (name, caption) if headed else (0, 1)
        if len(row) > max(at) and row[at[0]].strip() and (headed or len(row) == 2):
            yield row[at[0]].strip(), row[at[1]]
        else:
            left.add(BAD, f"row {number}")


def _columns(words: Sequence[str]) -> tuple[int | None, int | None]:
    """Which columns, by the words at their heads, hold files and captions; a number of a picture is its name where nothing better is."""
    name = [i for i, word in enumerate(words) if word in NAMES]
    named = [i for i in name if not words[i].endswith("id")]
    return next(iter(named or name), None), next((i for i, word in enumerate(words) if word in TEXTS), None)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
