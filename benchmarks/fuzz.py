"""Hostile files: thousands of damaged ones, and every one ends in a result or in a clear error.

    python benchmarks/fuzz.py                          # 10,000 of each kind
    python benchmarks/fuzz.py --kind containers --count 2000 --seed 7

Files are whole ones with bits flipped, bytes set, cut off, doubled, or swapped for those of another; for containers the checksums are made
right again half the time, so that what is behind them is reached too. A case fails where anything but ValueError or OSError is raised,
where it takes longer than 10 seconds, or where memory has grown by more than 200 MiB over all cases. Exit status 1 if any has failed; the
first failures are kept in the folder --keep.
"""

import argparse
import binascii
import io
import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bitmosaic import Codes, Pipeline, compression
from bitmosaic.codec import StaticCoder
from bitmosaic.codec.container import Reader
from bitmosaic.commands.decode import read_codes
from bitmosaic.images.idx import read_idx
from bitmosaic.images.read import read_image
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

SECONDS, GROWTH = 10, 200  # a case may take, MiB that memory may grow by


def tiny() -> Pipeline:
    """Real parts, as small as they get."""
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec().build()
    grid = tuple(side // tokenizer.factor for side in tokenizer.image_size)
    prior = MaskedPriorSpec(grid=grid, bits=len(tokenizer.radix)).build()
    pipe = Pipeline(tokenizer, prior)
    digits = torch.randint(0, 2, (9, *grid, len(tokenizer.radix)), dtype=torch.uint8)
    pipe.static = StaticCoder.fit([Codes(digits, tokenizer.radix)])
    return pipe


def containers(folder: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    """Compressed images."""
    pipe = tiny()
    size, channels = pipe.tokenizer.image_size, pipe.tokenizer.channels
    images = [np.random.default_rng(i).integers(0, 256, (*size, channels), np.uint8).squeeze() for i in range(2)]
    whole = [file for coder in ("uniform", "static", "prior") for packets in (1, 3) for file in pipe.compress(images, coder, packets)]

    def decode(data: bytes) -> None:
        for restore in (False, True):
            try:
                compression.decompress_codes(pipe, [data], restore)
            except ValueError as error:
                if restore:
                    raise
                assert str(error)

    return whole, decode


def mended(data: bytes) -> bytes:
    """A container whose header's checksum is right again, as far as its header can be read."""
    try:
        reader = Reader(data)
        reader.take(5, ""), reader.take(4 if data[4] == 0 else 8, "")
        *_, count = (reader.number("", 2**16) for _ in range(4))
        for _ in range(count):
            reader.number("", 2**40)
        reader.take(2 * count, "")
        for _ in range(reader.number("", 2**16)):
            reader.number("", 2**40)
        reader.take(2, "")
    except (ValueError, IndexError):
        return data
    return data[: reader.at] + binascii.crc32(data[: reader.at]).to_bytes(4) + data[reader.at + 4 :]


def pictures(folder: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    """PNG, JPEG, GIF, BMP, TIFF and WebP files."""
    picture, found = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)), []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        found.append(stream.getvalue())
    return found, lambda data: read_image(_file(folder, "picture", data), (16, 16), 3)


def idx(folder: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    """IDX files, as Fashion-MNIST comes in."""
    whole = b"\0\0\x08\x03" + b"".join(n.to_bytes(4) for n in (5, 6, 7)) + bytes(210)
    labels = b"\0\0\x08\x01" + (5).to_bytes(4) + bytes(5)
    return [whole, labels], lambda data: read_idx(_file(folder, "idx", data))


def codes(folder: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    """Files of 'bitmosaic encode'."""
    from safetensors.torch import save

    from bitmosaic.commands.encode import FORMAT

    about = {
        "format": FORMAT, "software": "bitmosaic 0", "pipeline": "p", "tokenizer": "t", "grid": "[2, 2]", "radix": "[2, 2]",
        "names": json.dumps(["a", "b"]),
    }  # fmt: skip
    whole = save({"codes": torch.zeros(2, 1, dtype=torch.uint8)}, about)
    return [whole], lambda data: read_codes(_file(folder, "codes.safetensors", data))


def pipelines(folder: Path) -> tuple[list[bytes], Callable[[bytes], object]]:
    """A pipeline's folder with one of its files damaged; the first byte says which."""
    tiny().save_pretrained(folder / "pipeline")
    files = sorted(path for path in (folder / "pipeline").rglob("*") if path.is_file())
    whole = [path.read_bytes() for path in files]

    def load(data: bytes) -> None:
        which = data[0] % len(files) if data else 0
        files[which].write_bytes(data[1:])
        try:
            Pipeline.from_pretrained(folder / "pipeline")
        finally:
            files[which].write_bytes(whole[which])

    return [bytes([i]) + data for i, data in enumerate(whole)], load


KINDS = {"containers": containers, "pictures": pictures, "idx": idx, "codes": codes, "pipelines": pipelines}


def _file(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def mutated(whole: list[bytes], rng: np.random.Generator) -> bytes:
    """One of the files, changed in one to four ways."""
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 5)):
        at, way = int(rng.integers(len(data) + 1)), rng.integers(7)
        near = min(at, int(rng.integers(1, 64)))  # headers are at the front, and short
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
            other = whole[rng.integers(len(whole))]
            data[at:] = other[int(rng.integers(len(other))) :]
    return bytes(data)


def run(kind: str, count: int, seed: int, keep: Path | None = None) -> dict[str, int]:
    """Outcomes: results, errors, failures."""
    rng, found = np.random.default_rng(seed), {"results": 0, "errors": 0, "failures": 0}

    def too_long(*_):
        raise TimeoutError(f"longer than {SECONDS} seconds")  # an OSError by type, told apart below

    before = signal.signal(signal.SIGALRM, too_long)
    with tempfile.TemporaryDirectory() as folder:
        whole, read = KINDS[kind](Path(folder))
        for data in whole:
            read(data)  # a whole one is no error
        memory = 0
        for i in tqdm(range(count), kind, disable=None, leave=False):
            data = mutated(whole, rng)
            if kind == "containers" and rng.integers(2):
                data = mended(data)
            signal.alarm(SECONDS)
            try:
                read(data)
                found["results"] += 1
            except Exception as error:  # what kind it is, is the question
                fine = isinstance(error, ValueError | OSError) and not isinstance(error, TimeoutError) and str(error)
                found["errors" if fine else "failures"] += 1
                if not fine:
                    print(f"{kind} {i}: {type(error).__name__}: {error}", file=sys.stderr)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{kind}-{seed}-{i}").write_bytes(data)
            finally:
                signal.alarm(0)
            if i == count // 10:
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024
        found["MiB grown"] = grown
        found["failures"] += grown > GROWTH
    signal.signal(signal.SIGALRM, before)
    return found


def main() -> int:
    """Reads the arguments, does what they say; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    given = parser.parse_args()
    torch.set_num_threads(1)
    failures = 0
    for kind in [given.kind] if given.kind else KINDS:
        start = time.perf_counter()
        found = run(kind, given.count, given.seed, given.keep)
        failures += found["failures"]
        print(f"{kind:12} {given.count:6,} files, seed {given.seed}: {found}, {time.perf_counter() - start:.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
