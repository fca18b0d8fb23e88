"""Memory of a process: its peak, and how glibc treats what is freed; with another C library nothing is done.

By default glibc returns a large tensor's pages to the system as soon as it is freed, and the next tensor's pages are zeroed again, one by
one: a tenth of the time of sampling on a CPU. With many threads it gives each a heap of its own, which is slower and never shrinks
(mallopt(3), malloc_trim(3)).
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from contextlib import suppress

KEEP = {"MMAP_THRESHOLD": (-3, 2**25), "TRIM_THRESHOLD": (-1, 2**30)}  # (parameter in malloc.h, bytes); 32 MiB is the largest allowed
ONE_HEAP = {"ARENA_MAX": (-8, 1)}
ABSENT = (OSError, AttributeError, TypeError)  # raised where the C library lacks a function, or there is none to ask (Windows)


def keep(one_heap: bool = False) -> None:
    """Keeps freed pages with the process, up to 1 GiB at the top of a heap; one_heap: all threads share one heap.

    For programs, not libraries: it changes every allocation of the process. Settings in the environment (MALLOC_TRIM_THRESHOLD_ and the
    like, or any in GLIBC_TUNABLES) win.
    """
    if "GLIBC_TUNABLES" in os.environ:
        return
    with suppress(*ABSENT):
        mallopt = ctypes.CDLL(None).mallopt
        for name, (number, value) in {**KEEP, **(ONE_HEAP if one_heap else {})}.items():
            if not {f"MALLOC_{name}", f"MALLOC_{name}_"} & os.environ.keys():
                mallopt(number, value)


def give_back() -> None:
    """Returns unused pages to the system."""
    with suppress(*ABSENT):
        ctypes.CDLL(None).malloc_trim(0)


def installed() -> float:
    """Memory of this machine in bytes; infinite where the system does not report it."""
    with suppress(ValueError, *ABSENT):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return math.inf


def most_resident() -> float:
    """Peak resident memory of this process in bytes; NaN where the system does not report it, such as Windows."""
    try:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except ImportError:
        return math.nan
    return float(most) if sys.platform == "darwin" else most * 1024.0  # macOS reports bytes, others KiB
