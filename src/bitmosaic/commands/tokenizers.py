"""Tokenizers alone, for the commands: a folder of one, a finished stage of a training, a pipeline's, or a published file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitmosaic.commands.pipelines import check_device
from bitmosaic.convert import read_tokenizer
from bitmosaic.disk import checksum
from bitmosaic.folders import load_part, part_fingerprint, read_json
from bitmosaic.media import PICTURES
from bitmosaic.pipelines import find_pipeline, zoo_names
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.sealed import check

PART = "tokenizer"  # what the folder of a tokenizer is called in a pipeline and in a training run


@dataclass(frozen=True)
class TokenizerAlone:
    """A tokenizer, and the size of the images that it is measured at."""

    tokenizer: Tokenizer
    checksum: str  # SHA-256 over its files
    image_size: tuple[int, int]  # (height, width)

    @property
    def channels(self) -> int:
        return self.tokenizer.channels

    @property
    def class_names(self) -> tuple[str, ...]:
        return ()


def tokenizer_alone(name: str, device: str = "cpu", size: int | None = None) -> TokenizerAlone | None:
    """What `name` means where it is a tokenizer alone; None where it is no such thing, such as a pipeline.

    A folder that `bitmosaic convert` wrote; RUN/tokenizer or RUN/tokenizer/final of a training; PIPELINE/tokenizer, also of a pipeline that
    ships; or a published file. size: side of the images, None: the tokenizer's own. ValueError for a damaged one, and for a size that its
    factor does not divide.
    """
    path = tokenizer_path(name)
    if path is None:
        return None
    check_device(device)
    if path.is_dir():
        check(path, "give another")
    tokenizer = (read_tokenizer(path) if path.is_file() else load_part(path, Tokenizer)).to(device)
    if tokenizer.medium.axes != PICTURES.axes:
        raise ValueError(f"pipeline: {name} is a tokenizer of {tokenizer.medium.plural}; 'bitmosaic reconstruct' measures those")
    own = tuple(tokenizer.image_size)
    sides = own if size is None else (size, size)
    if size is not None and sides != own and (tokenizer.factor is None or size < 1 or size % tokenizer.factor):
        want = "its own alone" if tokenizer.factor is None else f"multiples of {tokenizer.factor}"
        raise ValueError(f"size: got {size}; this tokenizer of {own[1]} x {own[0]} pixels takes {want}")
    return TokenizerAlone(tokenizer, checksum(path) if path.is_file() else part_fingerprint(path), sides)


def tokenizer_path(name: str) -> Path | None:
    """The file of a published checkpoint, or the folder of a tokenizer; None where `name` is neither."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.name == PART and str(path.parent) in zoo_names() and not path.exists():
        return find_pipeline(str(path.parent)) / PART
    for folder in (path, path / "final"):
        if (folder / "model.safetensors").is_file() and (folder / "config.json").is_file():
            found = read_json(folder / "config.json")
            if folder == path or (isinstance(found, dict) and path.name == PART):
                return folder
    return None
