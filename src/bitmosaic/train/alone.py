"""A lock for one training at a time in a folder, and removal of what killed ones left half written."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from bitmosaic.train.processes import by_first

LOCK = ".lock"
WAIT = 3.0  # seconds that a process which was killed may take to be gone
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of file systems without locks
LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.(new|old)|\.[0-9a-f]{32}\.tmp|(metrics|events)\.jsonl\.new|features\.safetensors\.new|codes\.new")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Locks `out`, which is created, against other trainings; the first process does, for all of its job.

    The system releases the lock when a process ends, in whatever way. ValueError where another training holds it.
    """
    held: list[BaseFileLock] = []
    new = [place for place in (out, *out.parents) if not place.exists()]  # innermost first
    by_first(lambda: held.append(_locked(out)))
    try:
        by_first(lambda: _sweep(out))
        yield
    finally:
        for lock in held:
            lock.release()
            if new and out.is_dir() and {path.name for path in out.iterdir()} <= {LOCK}:  # nothing was begun
                (out / LOCK).unlink(missing_ok=True)
                for place in new:
                    with suppress(OSError):  # another process has put something there
                        place.rmdir()


def _locked(out: Path) -> BaseFileLock:
    out.mkdir(parents=True, exist_ok=True)
    try:
        return _taken(FileLock(out / LOCK))
    except Timeout:
        raise ValueError(f"out: a training is going on in {out}; wait for it, or end it, or give another folder") from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in NO_LOCKS:
            raise
    lock = SoftFileLock(out / f"{LOCK}.soft")  # a file that is there while it is held: another machine's stays where that one crashes
    try:
        return _taken(lock)
    except Timeout:
        raise ValueError(f"out: a training is going on in {out}; if none is, remove {lock.lock_file}") from None


def _taken(lock: BaseFileLock) -> BaseFileLock:
    lock.acquire(timeout=WAIT)
    return lock


def _sweep(out: Path) -> None:
    """Removes what was half written when a process was killed."""
    for place in (out, *(path for path in out.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))):
        for path in (*place.glob(".*"), *place.glob("*.new"), *place.glob("pictures/.*")):
            if LEFT.fullmatch(path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
