"""What becomes of freed memory, seen from outside: page faults and what a process of its own holds."""

import json
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
    told = subprocess.run([sys.executable, "-c", BLOCKS], check=True, capture_output=True, text=True).stdout
    found = json.loads(told)
    assert found["faults"] * 4096 < 96 * 2**20  # of 480 MiB, all of which are cleared again without it
    assert found["given_back"] > 64 * 2**20


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.keep(one_heap=True)
    memory.give_back()
