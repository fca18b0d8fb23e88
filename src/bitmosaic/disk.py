"""Writing whole files, and errors of a full disk that name the file and the reason, whichever library met them."""

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
_CUT = re.compile(r"\d+ requested and \d+ written|inline_container|PytorchStreamWriter")  # of numpy and torch, which give no reason


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns an error of a full disk, raised in the block that writes `path`, into an OSError that names it; others pass unchanged."""
    try:
        yield
    except Exception as error:
        full = why_full(error)
        if full is None or (isinstance(error, OSError) and error.errno in FULL and _names_one(error)):
            raise
        raise OSError(*full, str(path)) from error


def write_whole(path: Path, data: bytes) -> None:
    """Writes bytes as a file, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path for the block to write, which is then renamed to `path`: no reader sees half a file, and a failed block leaves none.

    A process that is killed in between leaves .NAME.XXXXXXXX.new.
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
    """Whether an error names the file that does not fit: one of a copy names its source first."""
    return error.filename is not None and error.filename2 is None


def why_full(error: BaseException) -> tuple[int, str] | None:
    """errno and text of a write that did not fit, found in the error or its causes; None for any other error."""
    chain: list[BaseException] = [error]
    while behind := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(behind)
    for one in chain:
        code = _CODE.search(str(one))
        number = one.errno if isinstance(one, OSError) else int(code[1]) if code else None
        if number is not None:  # the system has said what it was
            return (number, os.strerror(number)) if number in FULL else None
    return (errno.ENOSPC, "Not all of it could be written") if any(_CUT.search(str(one)) for one in chain) else None
