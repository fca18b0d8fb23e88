"""The folder of codes of 'bitmosaic tokenize', written by `tokenize.py` and read by training.

    manifest.json        written last: what made the codes, of what, how many, with a checksum of every file below
    tokenizer/           what made them, config.json and model.safetensors
    shards/00000/        codes.npy (images, views, bytes) uint8; labels.npy (images,) int32, -1 for an image without a label;
                         pixels.npy (images,) uint64, a hash of each image by which duplicates are counted; codes.json, what happened;
                         where captions were wanted captions.npy and captions-ends.npy (`kept_captions`)
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmosaic.disk import checksum
from bitmosaic.folders import part_fingerprint, read_json
from bitmosaic.images.views import VIEWS
from bitmosaic.train.code_store import CodeStore, Shard
from bitmosaic.train.kept_captions import FILES as CAPTIONS

FORMAT = "bitmosaic tokenized 1"
FILES = ("codes.json", "codes.npy", "labels.npy", "pixels.npy")  # of a shard
FIELDS: dict[str, type] = {
    "format": str, "tokenizer": str, "grid": list, "radix": list, "views": str, "classes": list, "source": str, "images": int,
    "counts": dict, "shards": list, "told": list,
}  # fmt: skip
MOST = 1_000_000  # classes, and places of a grid


@dataclass(frozen=True)
class Manifest:
    """What a folder of codes holds, checked; `shards`: name, images, and a checksum of each file."""

    folder: Path
    about: dict[str, Any]

    @staticmethod
    def read(folder: str | Path) -> Manifest:
        """ValueError says why there is none, or what in it cannot be. No file but manifest.json is looked at."""
        folder = Path(folder).expanduser()
        path = folder / "manifest.json"
        if not path.is_file():
            begun = "; the command that began it goes on where it was" if (folder / "begun.json").is_file() else ""
            raise ValueError(f"codes: {folder} holds no manifest.json{begun or '; give a folder that bitmosaic tokenize wrote'}")
        about = read_json(path)
        problem = next(_problems(about), None)
        if problem:
            raise ValueError(f"codes: {path}: {problem}")
        return Manifest(folder, about)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of classes; () without."""
        return tuple(self.about["classes"])

    @property
    def grid(self) -> tuple[int, ...]:
        """Places."""
        return tuple(self.about["grid"])

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        return tuple(self.about["radix"])

    def summary(self) -> str:
        """Of how many images there are codes, and of how many classes, in a few words."""
        views = VIEWS[self.about["views"]]
        return f"codes of {len(self.store()):,} images x {views}, {len(self.class_names) or 'no'} classes"

    def fingerprint(self) -> str:
        """A hex digest that changes where codes or labels do."""
        parts = {name: self.about[name] for name in ("tokenizer", "grid", "radix", "views", "classes", "shards")}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def damage(self) -> Iterator[tuple[str, str]]:
        """Name and fault of each shard whose files are not those of the checksums: all are read once."""
        for shard in self.about["shards"]:
            if fault := shard_damage(self.folder / "shards" / shard["name"], shard["sha256"]):
                yield shard["name"], fault

    def verify(self) -> None:
        """ValueError that names what is damaged, tokenizer and shards. Reads every file once, as fast as the disk is."""
        if part_fingerprint(self.folder / "tokenizer") != self.about["tokenizer"]:
            raise ValueError(f"codes: {self.folder / 'tokenizer'} is not the tokenizer that made the codes; put that one back")
        for name, fault in self.damage():
            raise ValueError(
                f"codes: shard {self.folder / 'shards' / name} is damaged ({fault}); the same 'bitmosaic tokenize' again makes it anew"
            )

    @property
    def captioned(self) -> bool:
        """Whether captions were kept."""
        return any(CAPTIONS[0] in shard["sha256"] for shard in self.about["shards"])

    def store(self) -> CodeStore:
        """The codes, memory-mapped."""
        shards = [Shard(self.folder / "shards" / shard["name"], shard["images"]) for shard in self.about["shards"]]
        null = len(self.class_names) if self.class_names else None
        return CodeStore(shards, self.grid, tuple(self.about["radix"]), VIEWS[self.about["views"]], null, self.captioned)


def shard_damage(folder: Path, checksums: dict[str, str]) -> str:
    """What is wrong with a shard's files; empty where nothing is."""
    for name in (*FILES, *(CAPTIONS if set(CAPTIONS) & checksums.keys() else ())):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if checksum(path) != checksums[name]:
            return f"{name} is changed"
    return ""




def _problems(about: Any) -> Iterator[str]:
    """What a manifest says that cannot be."""
    if not isinstance(about, dict) or about.get("format") != FORMAT or about.keys() != FIELDS.keys():
        yield "describes no codes of this version"
        return
    wrong = [name for name, kind in FIELDS.items() if type(about[name]) is not kind]
    if wrong:
        yield f"{', '.join(wrong)} cannot be"
        return
    if len(about["grid"]) != 2 or not all(_whole(side, 1, MOST) for side in about["grid"]) or math.prod(about["grid"]) > MOST:
        yield "grid: want two numbers of places"
    if not 0 < len(about["radix"]) <= 4096 or not all(_whole(r, 2, 2**31) for r in about["radix"]):
        yield "radix: want whole numbers of at least 2"
    if about["views"] not in VIEWS:
        yield f"views: there are {', '.join(VIEWS)}"
    if len(about["classes"]) > MOST or not all(type(name) is str for name in about["classes"]):
        yield "classes: want names"
    yield from (f"shards[{i}]: {why}" for i, shard in enumerate(about["shards"]) if (why := _shard_problem(shard)))
    if len({CAPTIONS[0] in shard["sha256"] for shard in about["shards"]}) > 1:
        yield "shards: some have captions and some have none"
    if len({shard["name"] for shard in about["shards"]}) != len(about["shards"]):
        yield "shards: a name comes twice"
    if sum(shard["images"] for shard in about["shards"]) != about["images"]:
        yield f"images: {about['images']}, but its shards hold {sum(shard['images'] for shard in about['shards'])}"


def _shard_problem(shard: Any) -> str:
    if not isinstance(shard, dict) or shard.keys() != {"name", "images", "sha256"}:
        return "want name, images and sha256"
    if type(shard["name"]) is not str or not re.fullmatch(r"\d{5,12}", shard["name"]):
        return "name: want a number such as 00012"
    if not _whole(shard["images"], 0, 2**40):
        return "images: want a whole number"
    sums = shard["sha256"]
    known = isinstance(sums, dict) and sums.keys() in (set(FILES), {*FILES, *CAPTIONS})
    if not known or not all(type(s) is str and len(s) == 64 for s in sums.values()):
        return f"sha256: want one of each of {', '.join(FILES)}"
    return ""


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
