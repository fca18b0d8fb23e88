"""How fast codes are made and read, and what memory reading takes.

    python benchmarks/codes.py                    # both parts
    python benchmarks/codes.py --part read

read       one million synthetic grids of 256 places x 24 bits, 768 bytes each, in shards on disk; batches of 1,024 in shuffled order, as
           the training of a prior reads them: once with the files out of the page cache, once with them in it
tokenize   'bitmosaic tokenize' with the shipped pipeline on the 10,000 test images of Fashion-MNIST, by one process and by two

Memory is what the process holds for itself (RssAnon of /proc/self/status), not pages of files, which the system takes back when it needs
them. The limits: copying memory as fast as numpy does for the files in the page cache, and reading the files one after another as fast as
the disk does for those out of it. Images a second of `tokenize` leave out the start: from when every process has made a shard to the last.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitmosaic.folders import read_json, write_json
from bitmosaic.images import epoch_order
from bitmosaic.train.code_store import CodeBatches
from bitmosaic.train.shuffle import Shuffle
from bitmosaic.train.tokenized import FILES, FORMAT, Manifest, checksum

ROOT = Path(__file__).resolve().parents[1]
GRID, BITS, BATCH = (16, 16), 24, 1024


def anonymous() -> int:
    """Bytes of memory that are the process's own."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def written(folder: Path, grids: int, each: int) -> None:
    """Random codes as 'bitmosaic tokenize' leaves them."""
    rng, shards = np.random.default_rng(0), []
    for number, start in enumerate(range(0, grids, each)):
        place, count = folder / "shards" / f"{number:05d}", min(each, grids - start)
        place.mkdir(parents=True)
        np.save(place / "codes.npy", rng.integers(0, 256, (count, 1, GRID[0] * GRID[1] * BITS // 8), np.uint8))
        np.save(place / "labels.npy", rng.integers(0, 1000, count, np.int32))
        np.save(place / "pixels.npy", np.zeros(count, np.uint64))
        write_json(place / "codes.json", {})
        shards.append({"name": place.name, "images": count, "sha256": {name: checksum(place / name) for name in FILES}})
    write_json(folder / "manifest.json", {
        "format": FORMAT, "tokenizer": "", "grid": list(GRID), "radix": [2] * BITS, "views": "plain",
        "classes": [str(i) for i in range(1000)], "source": "synthetic", "images": grids, "counts": {}, "shards": shards, "told": [],
    })  # fmt: skip


def forget(folder: Path) -> None:
    """Asks the system to take the files out of the page cache."""
    os.sync()
    for path in folder.rglob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def shuffled(folder: Path, batches: int, order: Any) -> dict[str, Any]:
    """Reads so many batches through fresh maps."""
    read = CodeBatches(Manifest.read(folder).store(), BATCH, 0, order)
    before, most, start = anonymous(), 0, time.perf_counter()
    for step in range(batches):
        read(step)
        most = max(most, anonymous())
    seconds = time.perf_counter() - start
    return {"batches": batches, "grids_per_second": batches * BATCH / seconds, "own_memory_grew_bytes": most - before}


def reading(grids: int, each: int, batches: int) -> dict[str, Any]:
    """The part "read"."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(folder, grids, each)
        size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
        forget(folder)
        start = time.perf_counter()
        for path in sorted(folder.rglob("*.npy")):
            path.read_bytes()
        disk = size / (time.perf_counter() - start)
        start = time.perf_counter()
        assert not list(Manifest.read(folder).damage())
        checked = size / (time.perf_counter() - start)
        shuffled(folder, 2, Shuffle)  # what torch and numpy take when first used
        warm, held = shuffled(folder, batches, Shuffle), shuffled(folder, batches, epoch_order)
        forget(folder)
        cold = shuffled(folder, batches, Shuffle)
    one = size // grids
    return {
        "grids": grids, "bytes": size, "batch": BATCH, "warm": warm, "cold": cold, "permutation_in_memory": held,
        "checksums_bytes_per_second": checked, "disk_bytes_per_second": disk, "disk_grids_per_second": disk / one,
        "copy_bytes_per_second": (copied := copying()), "copy_grids_per_second": copied / one,
    }  # fmt: skip


def copying() -> float:
    """Bytes a second that numpy copies, of 64 MiB, the best of five."""
    source, seconds = np.ones(2**26, np.uint8), []
    target = np.zeros_like(source)
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return len(source) / min(seconds)


def tokenizing(processes: int) -> dict[str, Any]:
    """The part "tokenize", by so many processes."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "codes"
        words = [sys.executable, "-m", "bitmosaic", "tokenize", "fashion-mnist", str(out), "--shard-images", "200", "--device", "cpu"]
        start = time.perf_counter()
        running = [subprocess.Popen(words, env={**os.environ, "RANK": str(rank)}, stdout=subprocess.DEVNULL) for rank in range(processes)]
        if any(process.wait() for process in running):
            raise RuntimeError("tokenize failed")
        seconds = time.perf_counter() - start
        images = Manifest.read(out).about["images"]
        times = sorted(path.stat().st_mtime for path in (out / "shards").iterdir())
    rest = images - processes * 200
    return {"images": images, "seconds_with_start": seconds, "images_per_second": rest / (times[-1] - times[processes - 1])}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Reads the arguments, does what they say; what stands in the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=("read", "tokenize", "both"), default="both")
    parser.add_argument("--grids", type=int, default=1_000_000)
    parser.add_argument("--shard", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "data.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: dict[str, Any] = read_json(given.out) if given.out.exists() else {}
    if given.part != "tokenize":
        found["read"] = reading(given.grids, given.shard, given.batches)
        read = found["read"]
        for name in ("warm", "cold", "permutation_in_memory"):
            row = read[name]
            grown = row["own_memory_grew_bytes"] / 1e6
            print(f"{name:<22} {row['grids_per_second']:>12,.0f} grids a second, own memory grew {grown:.1f} MB")
        for name in ("copy", "disk"):
            print(f"{f'limit: {name}':<22} {read[f'{name}_grids_per_second']:>12,.0f} grids a second")
    if given.part != "read":
        found["tokenize"] = {str(processes): tokenizing(processes) for processes in (1, 2)}
        for processes, row in found["tokenize"].items():
            print(f"tokenize, {processes} processes {row['images_per_second']:,.0f} images a second")
    write_json(given.out, found)
    return found


if __name__ == "__main__":
    main()
