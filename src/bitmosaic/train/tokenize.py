"""Encodes images into shards of packed codes, by any number of processes that share only the folder.

A process that holds a shard's lock writes it, whole or not at all; the lock of a process that dies is released, and another takes the
shard. A shard depends only on its piece of the images: batches never cross pieces, and on a CPU one thread computes, so it is bitwise the
same whichever process writes it. The manifest is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from bitmosaic.disk import checksum
from bitmosaic.folders import written_beside
from bitmosaic.images import UnreadableImage
from bitmosaic.images.captions import one_line
from bitmosaic.images.tars import BrokenTar, SkippedMembers
from bitmosaic.images.views import VIEWS, read_views
from bitmosaic.names import plain
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.code_store import images_at_once, packed_bytes
from bitmosaic.train.kept_captions import KeptCaptions
from bitmosaic.train.sources import Item, Source

COUNTED = "unreadable", "unlabelled", "unmatched", "broken", "passed", "uncaptioned"
TOLD = 20  # lines about small troubles of one kind that a shard keeps
WAIT = 0.2  # seconds between two looks at a shard that another process makes


@dataclass
class ShardContents:
    """A shard in the making: codes and what happened."""

    codes: list[np.ndarray] = field(default_factory=list)  # (b, views, bytes)
    labels: list[int] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    told: dict[str, list[str]] = field(default_factory=dict)  # kind of trouble -> its first lines
    labelled: int = 0  # images with a label, unreadable ones too

    def tell(self, what: str, name: str, why: str) -> None:
        """Counts one and keeps the first lines of its kind; names may hold anything, these are plain text."""
        self.counts[what] += 1
        lines = self.told.setdefault(what, [])
        if len(lines) < TOLD:
            lines.append(plain(f"{name}: {why}")[:500])


def tokenize_pieces(
    source: Source, tokenizer: Tokenizer, out: Path, views: str, on_image: Callable[[int], object] = int
) -> Iterator[int]:  # fmt: skip
    """Makes every shard of `out` that is not there, together with other processes; yields the number of each made here.

    When it ends all shards are there, made here or elsewhere. on_image: told of images done here. OSError where one cannot be written.
    """
    (out / "shards").mkdir(exist_ok=True)
    left = list(range(len(source)))
    while left:
        busy, before = [], len(left)
        for number in left:
            folder = out / "shards" / f"{number:05d}"
            if folder.is_dir():
                continue
            try:
                with FileLock(out / "locks" / folder.name, timeout=0):
                    if not folder.is_dir():
                        for half in folder.parent.glob(f".{folder.name}.*.new"):
                            shutil.rmtree(half)  # of a process that was killed; the lock is ours
                        made = _make(source, number, tokenizer, views, on_image)
                        _write(folder, made, source.name(number), tokenizer, views, source.captioned)
                        yield number
            except Timeout:
                busy.append(number)
        left = busy
        if len(left) == before:
            time.sleep(WAIT)


def _make(source: Source, number: int, tokenizer: Tokenizer, views: str, on_image: Callable[[int], object]) -> ShardContents:
    made, passed = ShardContents(), SkippedMembers()
    most = max(1, images_at_once(tokenizer.image_size) // VIEWS[views])
    with one_thread(tokenizer.device):
        waiting: list[Tensor] = []
        try:
            for item in source.piece(number, passed):
                ways = _read(item, tokenizer, views, made, source.class_names != ())
                if ways is not None:
                    waiting.append(ways)
                if len(waiting) == most:
                    made.codes.append(_encode(tokenizer, torch.stack(waiting)))
                    waiting = []
                on_image(1)
        except BrokenTar as error:
            made.tell("broken", "the tar", str(error))
        if waiting:
            made.codes.append(_encode(tokenizer, torch.stack(waiting)))
    made.counts["passed"] = passed.members
    for name, why in passed.refused:
        made.tell("unreadable", name, why)
    return made


def _read(item: Item, tokenizer: Tokenizer, views: str, made: ShardContents, labelled: bool) -> Tensor | None:
    """The views of an image (v, C, H, W), uint8, and what is to be noted of it; None where there is none. OSError where it is gone."""
    if item.unmatched:
        made.tell("unmatched", item.name, "a label without an image" if item.image is None else "its .cls names no class")
    if item.image is None:
        return None
    made.labelled += item.label >= 0
    try:
        whole, ways = read_views(item.image, tokenizer.image_size, tokenizer.channels, views)
    except UnreadableImage as error:
        if isinstance(item.image, Path) and not os.path.lexists(item.image):  # as when a disk is unmounted
            raise OSError(f"data: {item.image} was there when the folder was listed and is gone; put it back, then go on") from error
        made.tell("unreadable", item.name, error.reason)
        return None
    if labelled and item.label < 0 and not item.unmatched:
        made.counts["unlabelled"] += 1
    made.labels.append(item.label)
    made.captions.append(_caption(item, made))
    made.pixels.append(int.from_bytes(hashlib.blake2b(whole.contiguous().numpy(), digest_size=8).digest(), "little"))
    return ways


def _caption(item: Item, made: ShardContents) -> str:
    """An image's caption, "" where it has none that can be read."""
    if isinstance(item.caption, str):
        text, why = item.caption, ""
    else:
        try:
            text, why = one_line(item.caption or b""), "it is empty"
        except ValueError as error:
            text, why = "", str(error)
    if not text:
        made.counts["uncaptioned"] += 1
        if item.caption and len(lines := made.told.setdefault("uncaptioned", [])) < TOLD:
            lines.append(plain(f"{item.name}: no caption, {why}")[:500])
    return text


def _encode(tokenizer: Tokenizer, images: Tensor) -> np.ndarray:
    """(b, v, C, H, W) uint8 -> packed codes (b, v, bytes), the most probable bits."""
    device = tokenizer.device
    with torch.inference_mode():
        packed = tokenizer.encode(images.flatten(0, 1).to(device).float() / 255).pack()
    return packed.reshape(*images.shape[:2], -1)


def _write(folder: Path, made: ShardContents, source: str, tokenizer: Tokenizer, views: str, captioned: bool) -> None:
    none = np.zeros((0, VIEWS[views], packed_bytes(tokenizer.spec.grid, tokenizer.radix)), np.uint8)
    codes = np.concatenate([none, *made.codes])
    with written_beside(folder) as beside:
        np.save(beside / "codes.npy", codes)
        np.save(beside / "labels.npy", np.array(made.labels, np.int32))
        np.save(beside / "pixels.npy", np.array(made.pixels, np.uint64))
        if captioned:
            KeptCaptions.write(made.captions, beside)
        else:
            del made.counts["uncaptioned"]
        sums = {path.name: checksum(path) for path in sorted(beside.iterdir())}
        about = {"source": source, "images": len(codes), "labelled": made.labelled, "highest": max(made.labels, default=-1)}
        (beside / "codes.json").write_text(json.dumps({**about, "counts": made.counts, "told": made.told, "sha256": sums}, indent=1) + "\n")


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Inside the block a CPU computes with one thread, so that codes do not depend on the number of threads."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
