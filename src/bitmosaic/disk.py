"""Files are written whole or not at all, and where that cannot be, the file is named, and why, whatever library found out."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CODE = re.compile(r"os error (\d+)")  # safetensors
_CUT = re.compile(r"\d+ requested and \d+ written|inline_container|PytorchStreamWriter")  # numpy and torch, which do not say why


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Where the block finds that a disk is full, an OSError names `path`, which it writes; other errors are as they were."""
    try:
        yield
    except Exception as error:
        full = why_full(error)
        if full is None or (isinstance(error, OSError) and error.errno in FULL and _names_one(error)):
            raise
        raise OSError(*full, str(path)) from error


def write_whole(path: Path, data: bytes) -> None:
    """Bytes as a file. Folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Another path, to be written in the block and then renamed to `path`: nobody sees half a file, and where the block fails none stays.

    What a process leaves that is killed in between is called .NAME.XXXXXXXX.new.
    """
    beside = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.new")  # a long name would be too long with more
    try:
        with writing(path):
            yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names_one(error: OSError) -> bool:
    """Whether it says which file: a copy that does not fit names the one it is of first."""
    return error.filename is not None and error.filename2 is None


def why_full(error: BaseException) -> tuple[int, str] | None:
    """The number and text of a write that did not fit, as the error says or what stands behind it; None for another error."""
    chain: list[BaseException] = [error]
    while behind := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(behind)
    for one in chain:
        code = _CODE.search(str(one))
        number = one.errno if isinstance(one, OSError) else int(code[1]) if code else None
        if number is not None:  # the system has said what it was
            return (number, os.strerror(number)) if number in FULL else None
    return (errno.ENOSPC, "Not all of it could be written") if any(_CUT.search(str(one)) for one in chain) else None
