"""The end of 'bitmosaic tokenize': shards are checked, damaged ones removed, and the manifest is written."""

from __future__ import annotations

import shutil
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bitmosaic.disk import checksum
from bitmosaic.folders import read_array, read_json, write_json
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.sources import Source
from bitmosaic.train.tokenized import FORMAT, Manifest, shard_damage

TOLD = 20  # lines about minor problems in the manifest; every broken tar is named
HASHES = 2**24  # hashes compared at once

COUNTS = {
    "unreadable": "unreadable images, left out", "beside": "images beside the classes, left out", "duplicates": "duplicates, kept",
    "unlabelled": "images without a label, kept", "uncaptioned": "images without a caption, kept",
    "unmatched": "labels without an image or a class, or that contradict an earlier one",
    "empty": "empty shards",
    "broken": "tar shards that break off or cannot be opened", "passed": "files in tars that are no image, or a second one, or no .cls",
}  # fmt: skip


def remove_damaged(source: Source, out: Path, tokenizer: Tokenizer, settings: dict[str, Any]) -> list[str]:
    """Takes away what is to be made anew in a folder that was finished: shards that are damaged or of a tar that broke off, and the
    manifest where a shard goes or where it does not say what the shards hold.

    Names what was damaged. What a tar that is gone by now held before it broke off stays: it is all there is.
    """
    path, damaged, abouts = out / "manifest.json", [], []
    if not path.exists():
        return []
    for number in range(len(source)):
        folder = out / "shards" / f"{number:05d}"
        about = _about(folder)
        if isinstance(about, str):
            damaged.append(f"{folder.name} ({about})")
        elif not about["counts"]["broken"] or source.missing([number]):
            abouts.append(about)
            continue
        path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if path.exists() and not _says(path, _manifest(source, out, tokenizer, settings, abouts)):
        path.unlink()
        damaged.append(path.name)
    return damaged


def _says(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a manifest holds what it should; lines for people aside."""
    try:
        found = read_json(path)
    except ValueError:
        return False
    return isinstance(found, dict) and {**found, "told": []} == {**wanted, "told": []}


def finish(source: Source, out: Path, tokenizer: Tokenizer, settings: dict[str, Any]) -> Manifest | None:
    """Checks all shards and writes the manifest, or finds it written; None where a shard is damaged and was taken away.

    ValueError where there is no image at all, or none that the label file names: then the folder is as if nothing had begun.
    """
    with FileLock(out / "locks" / "manifest"):
        if (out / "manifest.json").exists():
            return Manifest.read(out)
        folders = [out / "shards" / f"{number:05d}" for number in range(len(source))]
        abouts = []
        for folder in folders:
            about = _about(folder)
            if isinstance(about, str):
                shutil.rmtree(folder, ignore_errors=True)
                return None
            abouts.append(about)
        wanted = _manifest(source, out, tokenizer, settings, abouts)
        strange = source.file is not None and not any(about["labelled"] for about in abouts)
        if not wanted["images"] or strange:
            (out / "begun.json").unlink(missing_ok=True)
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            raise ValueError(source.file.strange(source.data) if wanted["images"] else _nothing(wanted))
        write_json(out / "manifest.json", wanted)
        return Manifest.read(out)


def _nothing(about: dict[str, Any]) -> str:
    """Why there are no codes, in a line."""
    why = [f"{about['counts'][name]:,} {text}" for name, text in COUNTS.items() if about["counts"].get(name) and name != "empty"]
    why += about["told"][:3]
    return f"data: {about['source']} holds no image that can be read, so there are no codes ({'; '.join(why)}); give others"


def _manifest(source: Source, out: Path, tokenizer: Tokenizer, settings: dict[str, Any], abouts: list[dict[str, Any]]) -> dict[str, Any]:
    """What manifest.json says of shards about which `abouts` say what they hold."""
    shards = [{"name": f"{i:05d}", "images": about["images"], "sha256": about["sha256"]} for i, about in enumerate(abouts)]
    return {
        "format": FORMAT, "tokenizer": settings["tokenizer"], "grid": list(tokenizer.spec.grid), "radix": list(tokenizer.radix),
        "views": settings["views"], "classes": list(_classes(source, abouts)), "source": source.data,
        "images": sum(about["images"] for about in abouts),
        "counts": _counted(source, abouts, out), "shards": shards, "told": _told(abouts),
    }  # fmt: skip


def _told(abouts: list[dict[str, Any]]) -> list[str]:
    """A line for every tar that is broken or holds no image, then the first ones of other troubles, of each kind in turn."""
    kinds: dict[str, list[str]] = {"broken": [], "empty": []}
    for about in abouts:
        for kind, lines in about["told"].items():
            kinds.setdefault(kind, []).extend(f"{about['source']}: {line}"[:600] for line in lines)
        if not about["images"] and not about["counts"]["broken"]:
            kinds["empty"].append(f"{about['source']}: no image"[:600])
    broken, empty = kinds.pop("broken"), kinds.pop("empty")
    return broken + empty + [line for some in zip_longest(*kinds.values()) for line in some if line is not None][:TOLD]


def _about(folder: Path) -> dict[str, Any] | str:
    """What happened in a shard, with a checksum of each of its files, or what is wrong with them."""
    if not folder.is_dir():
        return "missing"
    try:
        about = read_json(folder / "codes.json")
        sums = {**about["sha256"], "codes.json": checksum(folder / "codes.json")}
        if fault := shard_damage(folder, sums):
            return fault
        told = about["told"] if isinstance(about["told"], dict) else {"unreadable": about["told"]}  # an older one did not say the kind
        return {**about, "sha256": sums, "told": told}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"codes.json: {' '.join(str(error).split())[:100]}"


def _classes(source: Source, abouts: list[dict[str, Any]]) -> tuple[str, ...]:
    if source.class_names is not None:
        return source.class_names
    return tuple(map(str, range(1 + max((about["highest"] for about in abouts), default=-1))))


def _counted(source: Source, abouts: list[dict[str, Any]], out: Path) -> dict[str, int]:
    """Everything that a run does not stop for."""
    found = {name: sum(about["counts"].get(name, 0) for about in abouts) for name in COUNTS}
    if source.file is not None:
        found["unmatched"] += source.file.bad + max(0, len(source.file) - sum(about["labelled"] for about in abouts))
    if not _classes(source, abouts):
        found["unlabelled"] = 0
    rows = [about["images"] for about in abouts]
    if not source.captioned:
        del found["uncaptioned"]
    return {**found, "beside": source.beside, "empty": rows.count(0), "duplicates": duplicates(out, sum(rows))}


def duplicates(out: Path, images: int) -> int:
    """Images whose pixels, cropped and scaled, are those of one before; 64 bits of BLAKE2b each, so that memory stays."""
    parts, found = 1 + images // HASHES, 0
    for part in range(parts):
        every = (read_array(path, 1, np.uint64) for path in sorted((out / "shards").glob("[0-9]*/pixels.npy")))
        hashes = np.concatenate([np.zeros(0, np.uint64), *(some[some % np.uint64(parts) == part] for some in every)])
        found += len(hashes) - len(np.unique(hashes))
    return found
