"""Kinds of files that fuzz.py damages: whole ones of each, and what reads them."""

import binascii
import io
import json
import tarfile
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
