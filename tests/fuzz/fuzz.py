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
import binascii
import faulthandler
import io
import json
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from bitmosaic import Codes, Pipeline
from bitmosaic.codec import StaticCoder
from bitmosaic.codec.container import Reader
from bitmosaic.commands.decode import read_codes
from bitmosaic.commands.encode import FORMAT
from bitmosaic.disk import checksum
from bitmosaic.folders import part_fingerprint, save_part, write_json
from bitmosaic.images.idx import read_idx
from bitmosaic.images.labels import class_number
from bitmosaic.images.read import UnreadableImage, read_image
from bitmosaic.images.tars import SkippedMembers, open_tars, samples
from bitmosaic.media import Clips, Waves
from bitmosaic.media.base import UnreadableSignal
from bitmosaic.pipelines import compression
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.tokenizers.jpeg_bytes import END, JPEGBytesSpec
from bitmosaic.tokenizers.vqvae import VQVAESpec
from bitmosaic.train.checkpoint import load_checkpoint, save_checkpoint
from bitmosaic.train.code_store import packed_bytes
from bitmosaic.train.game import Game, Turn
from bitmosaic.train.log import Log
from bitmosaic.train.loop import State
from bitmosaic.train.sealed import CHECKSUMS, checksums
from bitmosaic.train.tokenized import FILES, Manifest
from bitmosaic.train.tokenized import FORMAT as TOKENIZED
from bitmosaic.train.training import Training

MANIFEST = "manifest.json"
SECONDS = 10  # that a case may take
ODD = [-1, 0, 2**31, 2**62, 10**30, 1e300, float("inf"), float("nan"), "", "../x", "\0", None, True, [], {}, [[[]]]]


class TooLong(BaseException):
    """No Exception, which what is tested may catch."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind: whole ones, of which one at a time is damaged where it lies, and what reads it, or all of them."""

    files: list[Path]
    read: Callable[[Path], object]
    mend: Callable[[Path], object] = lambda path: None  # makes checksums right again
    growth: int = 200  # MiB that memory may grow by


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Files in a folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def below(folder: Path) -> list[Path]:
    """All files in a folder and in those inside it."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def tiny() -> Pipeline:
    """Real parts, as small as they get."""
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec(width=8, embedding=8, groups=4).build()
    grid = tuple(side // tokenizer.factor for side in tokenizer.image_size)
    prior = MaskedPriorSpec(grid=grid, bits=len(tokenizer.radix)).build()
    pipe = Pipeline(tokenizer, prior)
    digits = torch.randint(0, 2, (9, *grid, len(tokenizer.radix)), dtype=torch.uint8)
    pipe.static = StaticCoder.fit([Codes(digits, tokenizer.radix)])
    return pipe


def containers(folder: Path) -> Kind:
    """Compressed images."""
    pipe = tiny()
    size, channels = pipe.tokenizer.image_size, pipe.tokenizer.channels
    images = [np.random.default_rng(i).integers(0, 256, (*size, channels), np.uint8).squeeze() for i in range(2)]
    whole = [file for coder in ("uniform", "static", "prior") for packets in (1, 3) for file in pipe.compress(images, coder, packets)]

    def decode(path: Path) -> None:
        for restore in (False, True):
            try:
                compression.decompress_codes(pipe, [path.read_bytes()], restore)
            except ValueError as error:
                if restore:
                    raise
                assert str(error)

    return Kind(written(folder, {f"{i}.bmc": data for i, data in enumerate(whole)}), decode, mend_header)


def media(folder: Path) -> Kind:
    """Compressed sounds, clips and bytes of JPEG files, whose grids have one axis or three, and of which some end."""
    torch.manual_seed(0)
    few = {"width": 8, "residual_blocks": 0}
    tokenizers = (
        VQVAESpec(Waves(2000), (48,), 2, (8,), NearestSpec(7, 4), **few),
        VQVAESpec(Clips(), (4, 8, 8), 1, (2, 4, 4), NearestSpec(300, 4), **few), JPEGBytesSpec((8, 8), 1, 64),
    )  # fmt: skip
    pipes, found = {}, {}
    for spec in tokenizers:
        tokenizer = spec.build()
        values, ends = tokenizer.radix[0], isinstance(spec, JPEGBytesSpec)
        prior = (LlamaGenSpec(spec.grid, values, 1, 2, 16, end=END) if ends else MaskGITSpec(spec.grid, values, 1, 2, 16)).build()
        pipe = pipes[type(tokenizer.medium).__name__ if not ends else "bytes"] = Pipeline(tokenizer, prior)
        low, high, shape = tokenizer.medium.low, tokenizer.medium.high, (2, tokenizer.channels, *tokenizer.image_size)
        codes = tokenizer.encode(torch.rand(shape, generator=torch.Generator().manual_seed(0)) * (high - low) + low)
        pipe.static = StaticCoder.fit([codes])
        for coder in ("uniform", "static", "prior"):
            for packets in (1, 3):
                for i, data in enumerate(compression.compress_codes(pipe, codes, coder, packets)):
                    found[f"{list(pipes)[-1]}-{coder}-{packets}-{i}.bmc"] = data

    def decode(path: Path) -> None:
        pipe = pipes[path.name.partition("-")[0]]
        codes, _ = compression.decompress_codes(pipe, [path.read_bytes()], restore=True)
        assert pipe.decode(codes.check(), "pt").isfinite().all()

    return Kind(written(folder, found), decode, mend_header)


def signals(folder: Path) -> Kind:
    """Files of sound and films."""
    Waves(2000).write(torch.linspace(-1, 1, 512)[None], folder / "a.wav", Class="drum")
    for ending in ("flac", "ogg", "aiff", "mp3"):
        Waves(8000).write(torch.linspace(-1, 1, 2048)[None], folder / f"a.{ending}")
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)) for i in range(3)]
    for ending in ("gif", "png", "webp"):
        frames[0].save(folder / f"b.{ending}", save_all=True, append_images=frames[1:], comment=b'{"Software": "bitmosaic 1"}')

    def load(path: Path) -> None:
        medium, size, channels = (Waves(2000), (256,), 1) if path.name.startswith("a") else (Clips(), (2, 8, 8), 3)
        with suppress(UnreadableSignal):
            assert all(part.shape == (channels, *size) for part in medium.parts(path, size, channels))
        if path.suffix in (".wav", ".gif"):
            medium.notes(path)

    return Kind(below(folder), load, growth=1024)


def mend_header(path: Path) -> None:
    """Makes the checksum of a container's header right again, as far as the header can be read."""
    data = path.read_bytes()
    try:
        reader = Reader(data)
        reader.take(5, ""), reader.take(8 if data[4] % 4 else 4, "")
        axes = reader.number("", 8) if data[3] == 3 else 2
        *_, count = (reader.number("", 2**16) for _ in range(axes + 2))
        for _ in range(count):
            reader.number("", 2**40)
        reader.take(4 * count, "")
        for _ in range(reader.number("", 2**16)):
            reader.number("", 2**40)
    except (ValueError, IndexError):
        return
    path.write_bytes(data[: reader.at] + binascii.crc32(data[: reader.at]).to_bytes(4) + data[reader.at + 4 :])


def pictures(folder: Path) -> Kind:
    """PNG, JPEG, GIF, BMP, TIFF and WebP files."""
    picture, found = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)), {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        picture.save(stream, kind)
        found[f"a.{kind.lower()}"] = stream.getvalue()
    return Kind(written(folder, found), lambda path: read_image(path, (16, 16), 3), growth=1024)


def idx(folder: Path) -> Kind:
    """IDX files, as Fashion-MNIST comes in."""
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4) for n in (5, 6, 7)) + bytes(210)
    labels = b"\0\0\x08\x01" + (5).to_bytes(4) + bytes(5)
    return Kind(written(folder, {"images": images, "labels": labels}), read_idx)


def codes(folder: Path) -> Kind:
    """Files of 'bitmosaic encode'."""
    about = {
        "format": FORMAT, "software": "bitmosaic 0", "pipeline": "p", "tokenizer": "t", "grid": "[2, 2]", "radix": "[2, 2]",
        "names": json.dumps(["a", "b"]),
    }  # fmt: skip
    return Kind(written(folder, {"codes.safetensors": save({"codes": torch.zeros(2, 1, dtype=torch.uint8)}, about)}), read_codes)


def pipelines(folder: Path) -> Kind:
    """A pipeline's folder: config.json and safetensors of its parts."""
    tiny().save_pretrained(folder / "pipeline")
    return Kind(below(folder / "pipeline"), lambda path: Pipeline.from_pretrained(folder / "pipeline"))


def tars(folder: Path) -> Kind:
    """Tar shards of images and their classes."""
    stream, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 8), "red").save(picture, "PNG")
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i in range(3):
            for name, data in ((f"a/{i}.png", picture.getvalue()), (f"a/{i}.cls", b"1")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def load(path: Path) -> None:
        for sample in samples(open_tars(str(path))[0], SkippedMembers()):
            with suppress(UnreadableImage):
                read_image(sample.image or b"", 8)
            class_number(sample.label or b"", 10)

    return Kind(written(folder, {"a.tar": stream.getvalue()}), load)


def shards(folder: Path) -> Kind:
    """Codes of 'bitmosaic tokenize', as training reads them, and their manifest."""
    tokenizer, rng = tiny().tokenizer, np.random.default_rng(0)
    save_part(tokenizer, tokenizer.spec, folder / "tokenizer")
    for number in range(2):
        place = folder / "shards" / f"{number:05d}"
        place.mkdir(parents=True)
        np.save(place / "codes.npy", rng.integers(0, 256, (3, 1, packed_bytes(tokenizer.spec.grid, tokenizer.radix)), np.uint8))
        np.save(place / "labels.npy", np.array([0, 1, -1], np.int32))
        np.save(place / "pixels.npy", np.arange(3, dtype=np.uint64))
        write_json(place / "codes.json", {"images": 3})

    def named() -> list[dict[str, Any]]:
        found = sorted((folder / "shards").iterdir())
        return [{"name": path.name, "images": 3, "sha256": {name: checksum(path / name) for name in FILES}} for path in found]

    about = {
        "format": TOKENIZED, "tokenizer": part_fingerprint(folder / "tokenizer"), "grid": list(tokenizer.spec.grid),
        "radix": list(tokenizer.radix), "views": "plain", "classes": ["a", "b"], "source": "none", "images": 6,
        "counts": {}, "shards": named(), "told": [],
    }  # fmt: skip
    write_json(folder / MANIFEST, about)

    def load(path: Path) -> None:
        found = Manifest.read(folder)
        found.verify()
        for _ in found.store().all(4):
            pass

    def mend(path: Path) -> None:
        if path.name != MANIFEST:
            write_json(folder / MANIFEST, {**about, "shards": named(), "tokenizer": part_fingerprint(folder / "tokenizer")})

    return Kind([path for path in below(folder) if "tokenizer" not in path.parts], load, mend)


class Small(Game):
    """A game of one small player, which makes no move."""

    def __init__(self):
        self.players = {"net": nn.Linear(3, 2)}

    def play(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[Turn]:
        yield from ()


def checkpoints(folder: Path) -> Kind:
    """A checkpoint of torch.distributed.checkpoint, and the notes beside it."""

    def state() -> State:
        return State.start(Small(), Training())

    def load(path: Path) -> None:
        Log(folder / "stage", 0, Training(), "cpu", load_checkpoint(step.parent, state(), lambda text: None))

    (folder / "stage").mkdir()
    notes = {"pictured": 1, "sums": {"loss": 2.0}, "count": {"loss": 2}, "seconds": 1.0}
    step = save_checkpoint(folder / "checkpoints", state(), 1, notes)
    return Kind(below(step), load, lambda path: (step / CHECKSUMS).write_text(json.dumps(checksums(step))))


KINDS = {
    "containers": containers, "pictures": pictures, "idx": idx, "codes": codes, "pipelines": pipelines, "checkpoints": checkpoints,
    "tars": tars, "shards": shards, "media": media, "signals": signals,
}  # fmt: skip


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
