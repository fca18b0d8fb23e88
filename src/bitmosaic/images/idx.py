"""The IDX format of LeCun's MNIST: two zero bytes, the type, the number of dimensions, the dimensions, the values."""

import gzip
import math
import os
import zlib
from pathlib import Path

import torch
from torch import Tensor

MOST = 2**30  # bytes
_UNSIGNED_BYTE = 0x08


def read_idx(path: str | os.PathLike) -> Tensor:
    """Reads an IDX file of unsigned bytes, plain or gzipped: uint8 of the shape that the file states.

    ValueError if the file is missing, is not IDX, holds another type, is shorter or longer than it states, or holds more than MOST bytes.
    """
    data = _bytes(Path(path))
    if len(data) < 4 or data[0] or data[1] or data[3] == 0:
        start = data[:4].hex(" ") or "nothing"
        raise ValueError(f"path: {path} is not an IDX file, it begins with {start}; download it again")
    if data[2] != _UNSIGNED_BYTE:
        raise ValueError(f"path: {path} holds IDX values of type 0x{data[2]:02x}; only unsigned bytes (0x08) are read")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at:at + 4], "big") for at in range(4, min(start, len(data)), 4)]
    expected = start + math.prod(shape)
    if len(data) < start or len(data) != expected or 0 in shape:
        states = f"states shape {tuple(shape)}, so {expected} bytes, but has {len(data)}"
        raise ValueError(f"path: {path} {states}; download it again")
    return torch.frombuffer(bytearray(data[start:]), dtype=torch.uint8).reshape(shape)


def _bytes(path: Path) -> bytes:
    """The file's content, unpacked if it is gzipped (whatever its name), and no further than it may be."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"path: {path} is no plain file; give an IDX file")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            pieces, count = [], 0
            while count <= MOST and (piece := file.read(2**20)):
                pieces.append(piece)
                count += len(piece)
        if count > MOST:
            raise ValueError(f"path: {path} holds more than {MOST} bytes, more than any published set; a few bytes can unpack to very many")
        return b"".join(pieces)
    except OSError as error:  # gzip.BadGzipFile is one too
        raise ValueError(f"path: cannot read {path}: {error.strerror or error}; give an IDX file") from error
    except (EOFError, zlib.error) as error:
        raise ValueError(f"path: {path} is damaged: {error}; download it again") from error
