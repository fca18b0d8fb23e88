"""Tar shards in the layout of webdataset: members of one name are one sample, such as 7.jpg, 7.cls and 7.txt.

We differ in names with several dots: the last ending is the type, so 22.05.png is an image, and 7.left.png and 7.right.png are two images
of the class in 7.cls; but where there is a 7.jpg, 7.depth.png is skipped as a further part of that sample.

From a file, or any URL that fsspec opens. A shard is read as a stream and never unpacked; names of members are never used as paths.
webdataset itself opens neither URL nor tar here, since it runs commands ("pipe:...") and trusts any size in a header.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from types import ModuleType
from typing import Any

from .formats import endings

LARGEST = 256 * 2**20  # bytes of a member, and of all members of one sample
HELD = 16  # samples whose names differ behind a dot that are held together, of at most LARGEST bytes in all
HEADER = 2**20  # bytes of a header that is longer than its block, such as a long name
SHARDS = 100_000  # that a name with braces and stars may stand for


def _needed(name: str) -> ModuleType:
    try:
        return __import__(name, fromlist=["_"])
    except ImportError:
        raise ValueError(f"data: tar shards need {name.split('.')[0]}; install it with: pip install 'bitmosaic[data]'") from None


class BrokenTar(ValueError):
    """A shard that cannot be opened, or read to its end; samples before the break are valid."""


@dataclass
class Sample:
    """A sample of a shard: the bytes of its image, and of its .cls (label) and .txt (caption) members, each None where there is none."""

    name: str
    image: bytes | None
    label: bytes | None
    caption: bytes | None = None


@dataclass
class SkippedMembers:
    """What was skipped in a shard so far: a count of members that are not used, and (name, reason) of images that were refused."""

    members: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    broken: str = ""  # why the shard ended before its end


def is_tars(data: str) -> bool:
    """Whether DATA names tar shards: it ends in .tar, or is a URL."""
    return data.endswith(".tar") or "://" in data


def open_tars(data: str) -> list[Any]:
    """The shards that `data` names, as fsspec's OpenFile, in order; braces as in train-{000..146}.tar, and stars, name several.

    Nothing is opened yet. ValueError where nothing can be there.
    """
    fsspec, braceexpand = _needed("fsspec"), _needed("braceexpand")
    try:
        names = list(islice(braceexpand.braceexpand(data), SHARDS + 1))
        if len(names) > SHARDS:
            raise ValueError(f"{data} names more than {SHARDS:,} shards")
        files = [file for name in names for file in fsspec.open_files(name, "rb")]
    except ImportError as error:
        raise ValueError(f"data: {data}: {error}; install it with: pip install 'bitmosaic[data]'") from error
    except (ValueError, OSError, braceexpand.UnbalancedBracesError) as error:
        raise ValueError(f"data: {data}: {error}; give tars, such as 'shards/*.tar' or https://host/{{000..146}}.tar") from error
    if not files:
        raise ValueError(f"data: no tar shard is called {data}")
    return files


def samples(file: Any, passed: SkippedMembers, captions: bool = False) -> Iterator[Sample]:
    """The samples of one shard, one after another; BrokenTar where it breaks off. Few of them are in memory at a time.

    captions: whether .txt files are wanted; where not, they are passed over.
    """
    wds, pictures = _needed("webdataset.tariterators"), {ending[1:] for ending in endings()}
    beside = {"cls", "txt"} if captions else {"cls"}

    def twice(error: Exception) -> bool:  # two members of one name: the first counts
        passed.refused.append((str(error.args[0]).partition(": duplicate file name")[0], "its name comes twice"))
        return True

    try:
        with file as stream:
            found = wds.group_by_keys(_members(stream, pictures, beside, passed), keys=_split, handler=twice)
            yield from _joined((_sample(one, pictures, passed) for one in found), passed)
    except Exception as error:  # file systems raise many kinds
        raise BrokenTar(_reason(error)) from error
    if passed.broken:
        raise BrokenTar(passed.broken)


def _split(name: str) -> tuple[str, str]:
    """A member's name without its last ending, and this, in small letters."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.rpartition(".")
    return (f"{folder}{slash}{stem}", ending.lower()) if dot and stem else (name, "")


def _first(name: str) -> str:
    """A name up to the first dot in its last part: what webdataset calls a sample."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _sample(found: dict[str, Any], pictures: set[str], passed: SkippedMembers) -> tuple[str, Sample]:
    """Members of one name as a sample, and that name."""
    ending = next((name for name in found if name in pictures), None)
    passed.members += sum(1 for one in found if one in pictures) - bool(ending)
    key = found["__key__"]
    return key, Sample(f"{key}.{ending}" if ending else key, found[ending] if ending else None, found.get("cls"), found.get("txt"))


def _joined(found: Iterator[tuple[str, Sample]], passed: SkippedMembers) -> Iterator[Sample]:
    """Samples whose names differ only behind a dot get the label and caption of what they have in common, or are parts of its sample."""
    held: list[tuple[str, Sample]] = []
    for key, sample in found:
        weight = sum(len(one.image or b"") for _, one in held)
        if held and (_first(key) != _first(held[0][0]) or len(held) == HELD or weight + len(sample.image or b"") > LARGEST):
            yield from _parted(held, passed)
            held = []
        held.append((key, sample))
    yield from _parted(held, passed)


def _parted(held: list[tuple[str, Sample]], passed: SkippedMembers) -> Iterator[Sample]:
    """Samples whose names are the same up to the first dot."""
    whole = next((sample for key, sample in held if key == _first(key)), None)  # 7.jpg, 7.cls
    if whole is not None and whole.image is not None:
        passed.members += sum(1 for _, sample in held if sample.image is not None and sample is not whole)
        yield whole
        return
    several = [sample for _, sample in held if sample is not whole]
    for sample in several:
        shared = whole or Sample("", None, None)
        label = shared.label if sample.label is None else sample.label
        yield Sample(sample.name, sample.image, label, shared.caption if sample.caption is None else sample.caption)
    if whole is not None and not any(sample.image is not None and sample.label is None for sample in several):
        yield whole  # a label of nothing


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if isinstance(error, OSError) or not text else text


class _Header(tarfile.TarInfo):
    """Headers that break off or are damaged end the shard with an error, where tarfile takes them for its end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            made = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            what = str(error) if buf else "nothing where its end should be marked"
            raise tarfile.ReadError(f"no plain tar file, or cut off or damaged: {what}") from error
        if made.size < 0 or (made.size > HEADER and not made.isreg()):
            raise tarfile.ReadError(f"damaged: a header states {made.size} bytes")
        return made


def _members(stream: Any, pictures: set[str], beside: set[str], passed: SkippedMembers) -> Iterator[dict[str, Any]]:
    """Images and what lies beside them in a tar, as webdataset has them; what is too large is refused by what its header says, unread.

    Where the tar breaks off this ends as at its end, since webdataset holds the last sample until then, and `passed.broken` says why.
    """
    try:
        yield from _read(stream, pictures, beside, passed)
    except Exception as error:
        passed.broken = _reason(error)


def _read(stream: Any, pictures: set[str], beside: set[str], passed: SkippedMembers) -> Iterator[dict[str, Any]]:
    held = ("", 0)  # the sample at hand, and its bytes
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:
        for member in tar:
            tar.members = []  # which it would keep for ever
            key, kind = _split(member.name)
            if member.name.rpartition("/")[2].startswith("."):  # hidden, as what macOS puts beside its files
                passed.members += 1
                continue
            wanted = member.isreg() and not member.issparse() and (kind in pictures or kind in beside)
            held = (held[0], held[1] + member.size) if key == held[0] else (key, member.size)
            if wanted and held[1] <= LARGEST:
                yield {"fname": member.name, "data": tar.extractfile(member).read(), "__url__": ""}
            elif kind in pictures:
                why = f"it is larger than {LARGEST >> 20} MiB" if held[1] > LARGEST else "it is no plain file in the tar"
                passed.refused.append((member.name, why))
            elif not member.isdir():
                passed.members += 1
