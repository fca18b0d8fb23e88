"""What becomes of freed memory, seen from outside: page faults and what a process of its own holds."""

import json
import os
import platform
import subprocess
import sys

import pytest

from bitmosaic import memory

BLOCKS = """
import ctypes, json, resource
from bitmosaic.memory import give_back, keep

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def use():
    for block in [libc.memset(libc.malloc(2**24), 1, 2**24) for _ in range(6)][::-1]:
        libc.free(block)

libc.memset.restype = ctypes.c_void_p
keep()
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
faults, kept = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, held()
give_back()
print(json.dumps({"faults": faults, "given_back": kept - held()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_memory_that_is_kept_is_not_cleared_again_and_can_be_given_back():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run([sys.executable, "-c", BLOCKS], check=True, capture_output=True, text=True, env=kept).stdout
    found = json.loads(told)
    assert found["faults"] * 4096 < 96 * 2**20  # of 480 MiB, all of which are cleared again without it
    assert found["given_back"] > 64 * 2**20


def test_what_the_environment_says_is_not_overruled(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    told = {}

    class Library:
        mallopt = told.__setitem__

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library)
    memory.keep(one_heap=True)
    assert told == {-3: 2**25, -8: 1}
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    told.clear()
    memory.keep(one_heap=True)
    assert not told


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def absent(name):
        raise error

    monkeypatch.setattr(memory.ctypes, "CDLL", absent)
    memory.keep(one_heap=True)
    memory.give_back()
