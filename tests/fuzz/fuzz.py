"""Hostile files: thousands of damaged ones, and every one ends in a result or in a clear error.

    python tests/fuzz/fuzz.py                          # 10,000 of each kind
    python tests/fuzz/fuzz.py --kind containers --count 2000 --seed 7

One file of a whole set is damaged in place, read, and put back: bits flipped, bytes set, cut off, doubled, or swapped for those of another
file; in JSON and in the headers of safetensors, values replaced by odd ones too. Where there are checksums they are made right again half
the time, so that what is behind them is reached. A case fails where anything but ValueError or OSError is raised, where it takes longer
than 10 seconds, or where memory has grown by more than 200 MiB over all cases; pictures may take 1 GiB, since a damaged header may say
that there are as many pixels as Pillow lets through, 89 million. Exit status 1 if any has failed; the first failures are kept in the
folder --keep. A crash of Python itself leaves the damaged file in the temporary folder that is printed.
"""

import argparse
import faulthandler
import json
import resource
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_kinds import KINDS, MANIFEST, Kind, below, written  # noqa: F401, tests make kinds of their own
from tqdm import tqdm

from bitmosaic.train.sealed import CHECKSUMS

SECONDS = 10  # that a case may take
ODD = [-1, 0, 2**31, 2**62, 10**30, 1e300, float("inf"), float("nan"), "", "../x", "\0", None, True, [], {}, [[[]]]]


class TooLong(BaseException):
    """No Exception, which what is tested may catch."""


def mutated(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A file, changed in one to four ways."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        end = len(data) if rng.integers(2) else min(len(data), 2048)  # headers are at the front
        at, way = int(rng.integers(end + 1)), rng.integers(7)
        near = min(at, int(rng.integers(1, 64)))  # and the most telling bytes at their front
        if way == 0 and data:
            data[at % len(data)] ^= 1 << rng.integers(8)
        elif way == 1 and data:
            data[near % len(data)] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        elif way == 2:
            del data[at:]
        elif way == 3:
            del data[at : at + int(rng.integers(1, 9))]
        elif way == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif way == 5:
            data[at:at] = data[at : at + int(rng.integers(1, 200))]
        else:
            other = others[rng.integers(len(others))]
            data[at:] = other[int(rng.integers(len(other))) :]
    return bytes(data)


def odd(data: bytes, suffix: str, rng: np.random.Generator) -> bytes | None:
    """JSON, or a safetensors file, with one to three of its values replaced by odd ones; None for other files."""
    if suffix == ".json":
        return json.dumps(_odd(json.loads(data), rng)).encode()
    if suffix == ".safetensors":
        end = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.dumps(_odd(json.loads(data[8:end]), rng)).encode()
        return struct.pack("<Q", len(header)) + header + data[end:]
    return None


def _odd(value: Any, rng: np.random.Generator) -> Any:
    for _ in range(rng.integers(1, 4)):
        holders = [value] if isinstance(value, dict | list) else []
        for held in holders:
            holders += [inside for inside in (held.values() if isinstance(held, dict) else held) if isinstance(inside, dict | list)]
        holders = [held for held in holders if held]
        if not holders:
            return ODD[rng.integers(len(ODD))]
        held = holders[rng.integers(len(holders))]
        keys = list(held) if isinstance(held, dict) else range(len(held))
        held[keys[int(rng.integers(len(keys)))]] = json.loads(json.dumps(ODD[rng.integers(len(ODD))]))  # a copy
    return value


def one(kind: Kind, file: Path, data: bytes, mend: bool) -> str:
    """Reads a damaged file in its place: "results", "errors", or what failed."""
    file.write_bytes(data)
    if mend:
        kind.mend(file)
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True, file=sys.__stderr__)  # where a signal cannot come through
    signal.alarm(SECONDS)
    try:
        kind.read(file)
        return "results"
    except (Exception, TooLong) as error:  # what kind it is, is the question
        return "errors" if isinstance(error, ValueError | OSError) and str(error) else f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()


def run(name: str, count: int, seed: int, keep: Path | None = None) -> dict[str, int]:
    """Outcomes: results, errors, failures; and MiB that memory has grown by since a tenth of the cases."""

    def too_long(*_):
        raise TooLong(f"longer than {SECONDS} seconds")

    rng, found = np.random.default_rng(seed), {"results": 0, "errors": 0, "failures": 0}
    before, memory = signal.signal(signal.SIGALRM, too_long), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        tqdm.write(f"{name}: in {folder}", file=sys.stderr)
        kind = KINDS[name](Path(folder))
        everything = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        whole = {path: path.read_bytes() for path in everything}
        for file in kind.files:
            kind.read(file)  # a whole one is no error
        for i in tqdm(range(count), name, disable=None, leave=False):
            file = kind.files[rng.integers(len(kind.files))]
            data = odd(whole[file], file.suffix, rng) if rng.integers(2) else None
            data = mutated(whole[file], [whole[path] for path in kind.files], rng) if data is None else data
            told = one(kind, file, data, bool(rng.integers(2)))
            found[told if told in found else "failures"] += 1
            if told not in found:
                print(f"{name} {i}, {file.name}: {told}", file=sys.stderr)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}-{seed}-{i}-{file.name}").write_bytes(data)
            put_back(Path(folder), whole, file)
            if i == count // 10:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, before)
    found["MiB grown"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024
    found["failures"] += found["MiB grown"] > kind.growth
    return found


def put_back(folder: Path, whole: dict[Path, bytes], damaged: Path) -> None:
    """The damaged file, and what was mended beside it, as they were."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in whole:
            path.unlink()  # written by what was tested
    for path, data in whole.items():
        if path == damaged or not path.exists() or path.name in (CHECKSUMS, MANIFEST):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def main() -> int:
    """Reads the arguments, does what they say; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    given = parser.parse_args()
    torch.set_num_threads(1)
    faulthandler.enable()
    failures = 0
    for name in [given.kind] if given.kind else KINDS:
        start = time.perf_counter()
        found = run(name, given.count, given.seed, given.keep)
        failures += found["failures"]
        print(f"{name:12} {given.count:6,} files, seed {given.seed}: {found}, {time.perf_counter() - start:.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
