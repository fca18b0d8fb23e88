"""What the C library does with memory that is freed, where it is glibc; with any other nothing is done.

By default glibc gives a large tensor's pages back to the system as soon as it is freed, and the next tensor's are cleared anew, one by one:
a tenth of the time of drawing on a CPU. And it gives each of some hundred threads a heap of its own, which is slower and never shrinks
(mallopt(3), malloc_trim(3)).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
ABSENT = (OSError, AttributeError)  # what asking for a function of another C library raises


def keep(one_heap: bool = False) -> None:
    """Pages that are freed stay with the process, up to 1 GiB of them in a row; one_heap: of all its threads together.

    For processes that do nothing else: it holds for whatever is allocated in them.
    """
    with suppress(*ABSENT):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that there may be
        mallopt(M_TRIM_THRESHOLD, 2**30)
        if one_heap:
            mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Pages that hold nothing go back to the system."""
    with suppress(*ABSENT):
        ctypes.CDLL(None).malloc_trim(0)
