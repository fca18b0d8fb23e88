"""What a process holds; and what the C library does with memory that is freed, where it is glibc; with any other nothing is done.

By default glibc gives a large tensor's pages back to the system as soon as it is freed, and the next tensor's are cleared anew, one by one:
a tenth of the time of drawing on a CPU. And it gives each of some hundred threads a heap of its own, which is slower and never shrinks
(mallopt(3), malloc_trim(3)).
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress

KEEP = {"MMAP_THRESHOLD": (-3, 2**25), "TRIM_THRESHOLD": (-1, 2**30)}  # numbers of malloc.h; 32 MiB are the most that there may be
ONE_HEAP = {"ARENA_MAX": (-8, 1)}
ABSENT = (OSError, AttributeError, TypeError)  # what asking for a function of another C library raises, or of none (Windows)


def keep(one_heap: bool = False) -> None:
    """Pages that are freed stay with the process, up to 1 GiB of them in a row; one_heap: of all its threads together.

    For processes that do nothing else: it holds for whatever is allocated in them. A setting of the environment's (MALLOC_TRIM_THRESHOLD_
    and the like, or any in GLIBC_TUNABLES) is not overruled.
    """
    if "GLIBC_TUNABLES" in os.environ:
        return
    with suppress(*ABSENT):
        mallopt = ctypes.CDLL(None).mallopt
        for name, (number, value) in {**KEEP, **(ONE_HEAP if one_heap else {})}.items():
            if not {f"MALLOC_{name}", f"MALLOC_{name}_"} & os.environ.keys():
                mallopt(number, value)


def give_back() -> None:
    """Pages that hold nothing go back to the system."""
    with suppress(*ABSENT):
        ctypes.CDLL(None).malloc_trim(0)


def most_resident() -> float:
    """The most bytes of memory that this process has held at a time; NaN where the system does not tell, as Windows."""
    try:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except ImportError:
        return math.nan
    return float(most) if sys.platform == "darwin" else most * 1024.0  # a Mac counts bytes, others KiB
