"""A cache on disk of what was computed once: small files in the user's cache folder, which may be lost, damaged or unwritable."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from bitmosaic.disk import write_whole

LOG = logging.getLogger("bitmosaic.studio")
MOST = 2**28  # bytes of a file
UNUSED = 90 * 86400  # seconds without use after which another pipeline's folder is removed


def cache_folder() -> Path | None:
    """The user's cache folder by the conventions of the operating system; None where the user has no home."""
    try:
        if sys.platform == "win32":
            found = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            found = Path.home() / "Library" / "Caches"
        else:
            found = Path(os.environ.get("XDG_CACHE_HOME") or ".")
            found = found if found.is_absolute() else Path.home() / ".cache"  # as the XDG base directory specification says
    except RuntimeError:  # Path.home() knows no home directory
        return None
    return found / "bitmosaic" / "studio"


class DiskCache:
    """Bytes by name in a folder. An unreadable file counts as absent; where writing fails nothing is cached, and nothing raises."""

    def __init__(self, folder: Path | None):
        """folder: of one pipeline, in the folder of all; None: nothing is cached."""
        self.folder = folder
        if folder is not None:
            with suppress(OSError):
                _tidy(folder)

    def read(self, name: str) -> bytes | None:
        """The bytes written under that name; None where there are none, or where their digest does not match."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            if not path.is_file() or path.stat().st_size > MOST:  # reading a device or a pipe would not end
                return None
            found = path.read_bytes()
        except OSError:
            return None
        return found[32:] if found[:32] == _digest(name, found[32:]) else None

    def write(self, name: str, data: bytes) -> None:
        """Writes a temporary file and renames it; the first failure is logged, and then nothing more is written."""
        if self.folder is None:
            return
        try:
            write_whole(self.folder / name, _digest(name, data) + data)
        except OSError as error:
            LOG.warning("cannot write to the cache %s (%s): it is computed again after each start", self.folder, error.strerror or error)
            self.folder = None


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + data).digest()


def _tidy(folder: Path) -> None:
    """Marks the folder as used; removes temporary files of killed processes, and other folders unused for `UNUSED` seconds."""
    now = time.time()
    if folder.is_dir():
        os.utime(folder)
        for left in folder.glob(".*.new"):
            if now - left.stat().st_mtime > 3600:
                left.unlink()
    for other in folder.parent.iterdir():
        if re.fullmatch("[0-9a-f]{32}", other.name) and other.is_dir() and now - other.stat().st_mtime > UNUSED:
            shutil.rmtree(other, ignore_errors=True)
