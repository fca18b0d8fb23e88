"""`bitmosaic tokenize`: images of any number to packed codes in shards, which priors are trained on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from filelock import FileLock
from tqdm import tqdm

from bitmosaic.commands.arguments import Flag
from bitmosaic.commands.files import tell_used
from bitmosaic.commands.pipelines import DEFAULT, check_device, find
from bitmosaic.commands.real import named_images
from bitmosaic.disk import writing
from bitmosaic.folders import load_part, part_fingerprint, read_json, write_json, written_beside
from bitmosaic.images import NAMED_SETS
from bitmosaic.images.captions import BESIDE, captions_of
from bitmosaic.images.labels import MOST, LabelFile
from bitmosaic.images.scan import Scan
from bitmosaic.images.scanned import kept_scan
from bitmosaic.images.tars import is_tars
from bitmosaic.images.views import VIEWS
from bitmosaic.media import PICTURES
from bitmosaic.names import plain
from bitmosaic.spec import Spec
from bitmosaic.tokenizers import Tokenizer, TokenizerSpec
from bitmosaic.train.finish import COUNTS, finish, remove_damaged
from bitmosaic.train.processes import own_device
from bitmosaic.train.sealed import check
from bitmosaic.train.sources import Listed, Source, Tars
from bitmosaic.train.tokenize import tokenize_pieces
from bitmosaic.train.tokenized import FORMAT, Manifest

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
MOST_LINES = 40  # about what was wrong, on the screen; the manifest has all
OURS = {"begun.json", "scan.json", "manifest.json", "tokenizer", "shards", "locks"}  # what lies in a folder of codes


def tokenize(
    data: Data, out: Out, *, pipeline: str = DEFAULT, views: Literal["plain", "flip", "ten-crop"] = "plain", labels: Path | None = None,
    classes: int | None = None, no_classes: Flag = False, captions: str = "", shard_images: int = 1000, device: str = "auto",
) -> Path:  # fmt: skip
    """Turns images into packed codes in shards, which 'bitmosaic train RECIPE --codes OUT' trains a prior on.

    The same command again goes on where it was stopped; started several times at once, or by torchrun, the processes share the work.
    On a CPU each takes one core. Broken images, duplicates and the like are counted and do not stop it.

    Args:
        data: a folder of images, whose sub-folders are classes; tar shards such as 'shards/train-{000..146}.tar' or a URL of one, by
            'bitmosaic[data]'; a named set, such as fashion-mnist or landscapes (test images, which ship), or
            fashion-mnist:train.
        out: folder of the codes.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, of an ended training run, or of a tokenizer alone.
        views: of each image: plain, its centre; flip, its mirror too; ten-crop, four corners and the middle, and their mirrors.
        labels: a file with the name of an image and its class on each line, instead of sub-folders or .cls files.
        classes: how many there are in tars, whose .cls files hold their numbers; otherwise the highest says it.
        no_classes: sub-folders are no classes; every image below the folder is taken.
        captions: 'beside' where name.txt lies beside name.png, in a folder or in tars, or for a folder a file of them, CSV or JSON Lines;
            they are kept with the codes.
        shard_images: images of a shard; a tar becomes one shard.
        device: where to compute: cpu, cuda, or auto, a GPU where there is one.

    Returns:
        The folder.
    """
    out = Path(out).expanduser()
    if shard_images < 1 or (classes is not None and not 1 <= classes <= MOST):
        raise ValueError(f"shard_images, classes: got {shard_images} and {classes}; want at least 1, and at most {MOST:,} classes")
    device = own_device() if device == "auto" else device
    check_device(device)
    part, speak = tokenizer_folder(pipeline), os.environ.get("RANK", "0") == "0"
    check_of_pictures(part)
    check_out(out, data)
    with begun_in(out):
        file = LabelFile(labels) if labels else None
        source = source_of(data, out, shard_images, file, classes, no_classes, captions)
        tell_used(source.told() if speak else ())
        check_there(source, out)
        try:
            settings = begin(out, source, part, views)
        except OtherCodes:
            if not (out / "scan.json").exists():
                raise
            (out / "scan.json").unlink()  # the list that was kept may be what is wrong
            source = source_of(data, out, shard_images, file, classes, no_classes, captions)
            settings = begin(out, source, part, views)
        tokenizer = load_part(out / "tokenizer", Tokenizer)
        damaged = remove_damaged(source, out, tokenizer, settings)
        check_there(source, out)
    if damaged and speak:
        print(plain(f"bitmosaic: damaged, made anew: {named(damaged)}"), file=sys.stderr)
    tokenizer = tokenizer.to(device)
    manifest = None
    total = source.count if isinstance(source, Listed) else None
    with tqdm(total=total, desc="tokenizing", unit="image", disable=None if speak else True, dynamic_ncols=True, leave=False) as bar:
        while manifest is None:
            for _ in tokenize_pieces(source, tokenizer, out, views, bar.update):
                pass
            manifest = finish(source, out, tokenizer, settings)
    if speak:
        tell(manifest)
    return out


@contextmanager
def begun_in(out: Path) -> Iterator[None]:
    """Alone in the folder; where it is new and nothing is begun in it, it does not stay."""
    new = [place for place in (out / "locks", out, *out.parents) if not place.exists()]  # innermost first
    (out / "locks").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / "locks" / "begin"):
            yield
    finally:
        if new and not (out / "begun.json").exists():
            for file in (out / "locks" / "begin", out / "scan.json"):
                file.unlink(missing_ok=True)
            for place in new:
                with suppress(OSError):  # another process has put something there
                    place.rmdir()


def check_there(source: Source, out: Path) -> None:
    """ValueError that names the tars that are still to be read and are not there."""
    missing = source.missing(i for i in range(len(source)) if not (out / "shards" / f"{i:05d}").is_dir())
    if missing:
        raise ValueError(f"data: there is no plain file {named(missing)}; give tars that are there, all of them")


def named(things: Sequence[str], most: int = 8) -> str:
    """The first of several things, and how many more there are."""
    return ", ".join(things[:most]) + (f" and {len(things) - most:,} more" if len(things) > most else "")


def check_out(out: Path, data: str) -> None:
    """ValueError where codes cannot be put: among other things, or among their own images."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: {out} is a file; give a folder")
    other = sorted(path.name for path in out.iterdir() if path.name not in OURS and not path.name.startswith(".")) if out.is_dir() else []
    if other:
        raise ValueError(f"out: {out} holds {other[0]}, which is no part of codes; give a new or empty folder")
    root = Path(data).expanduser()
    if root.is_dir() and root.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"out: {out} lies inside the images in {root}; give another folder")


def check_of_pictures(part: Path) -> None:
    """ValueError where the tokenizer in a folder is of another medium."""
    spec = Spec.from_json(read_json(part / "config.json"), str(part / "config.json"))
    if isinstance(spec, TokenizerSpec) and spec.medium != PICTURES:
        raise ValueError(f"pipeline: its tokenizer is of {spec.medium.plural}; tokenize reads pictures, and 'train' codes these by itself")


def tokenizer_folder(pipeline: str) -> Path:
    """The tokenizer of a pipeline, or one that lies alone in a folder, as in that of a training run whose prior is not trained yet."""
    alone = Path(pipeline).expanduser()
    if (alone / "model.safetensors").is_file() and (alone / "config.json").is_file():
        check(alone, "give another")
        return alone
    return find(pipeline) / "tokenizer"


def source_of(
    data: str, out: Path, each: int, labels: LabelFile | None, classes: int | None, no_classes: bool = False, captions: str = ""
) -> Source:  # fmt: skip
    """What `data` names; ValueError where there is nothing, or nothing that these settings fit."""
    root = Path(data).expanduser()
    if (named := named_images(data)) is not None:
        found: Any = named
    elif root.is_dir():
        found = kept_scan(root, out / "scan.json", classes=not (labels or no_classes))
    elif is_tars(data):
        if captions not in ("", BESIDE):
            raise ValueError(f"captions: got {captions!r} for tar shards; those lie in the tars, as .txt files: give --captions beside")
        return Tars(data, labels, None if labels else classes, bool(captions))
    else:
        what = f"{data} is no folder, and no .tar" if root.exists() else f"there is no folder {data}"
        raise ValueError(f"data: {what}; give a folder, tar shards that are not compressed, or {' or '.join(NAMED_SETS)}")
    if classes is not None:
        raise ValueError("classes: is for tar shards; a folder's classes are its sub-folders")
    if captions and not isinstance(found, Scan):
        raise ValueError(f"captions: {data} has none; leave them out, or give a folder of pictures")
    return Listed(found, data, each, labels, captions_of(captions, found) if captions else None)


def begin(out: Path, source: Source, part: Path, views: str) -> dict[str, Any]:
    """Notes what the folder is for and puts the tokenizer there, or checks that it is the same as before."""
    fingerprint = part_fingerprint(part)
    settings = {
        "format": FORMAT, "tokenizer": fingerprint, "views": views, "labels": source.file.fingerprint if source.file else "",
        "source": source.about(),
    }  # fmt: skip
    before = begun(out, settings)
    named = before.get("source")
    if isinstance(named, dict) and isinstance(named.get("data"), str) and {**named, "data": source.data} == settings["source"]:
        source.data = named["data"]  # the same images under another name, as DATA/, or by an absolute path: called as they were
        settings["source"] = named
    other = [name for name, value in before.items() if value != settings[name]]
    if other:
        raise OtherCodes(f"out: {out} was begun with another {', '.join(other)}; give the same images and settings, or another folder")
    with suppress(OSError):
        if part_fingerprint(out / "tokenizer") == fingerprint and (out / "begun.json").exists():
            return settings
    with written_beside(out / "tokenizer") as beside:
        for name in ("config.json", "model.safetensors"):
            with writing(beside / name):
                shutil.copyfile(part / name, beside / name)
    write_json(out / "begun.json", {**settings, "checksum": sum_of(settings)})
    return settings


class OtherCodes(ValueError):
    """What lies in a folder was made of other images, or in another way."""


def begun(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings with which the folder was begun that are known; ValueError where the note of them is damaged."""
    path = out / "begun.json"
    if path.exists():
        with suppress(ValueError):
            found = read_json(path)
            sum_ = found.pop("checksum", None) if isinstance(found, dict) else ""
            if sum_ in (None, sum_of(found)) and found.keys() >= settings.keys():  # None: an older one
                return {name: found[name] for name in settings}
        raise ValueError(f"out: {path} is damaged; if {out} was begun with these images and settings, take it away and try again")
    with suppress(ValueError):
        made = Manifest.read(out).about
        return {name: made[name] for name in ("format", "views")} | {"source": {**settings["source"], "data": made["source"]}}
    return {}


def sum_of(settings: dict[str, Any]) -> str:
    """A checksum of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def tell(manifest: Manifest) -> None:
    """What was made, and what was wrong."""
    about = manifest.about
    images, views = about["images"], VIEWS[about["views"]]
    classes = f"{len(manifest.class_names)} classes" if manifest.class_names else "no classes"
    bits = manifest.grid[0] * manifest.grid[1] * sum((r - 1).bit_length() for r in about["radix"])
    print(plain(f"{images:,} images x {views}, {bits:,} bits each, {classes}, {len(about['shards']):,} shards: {manifest.folder}"))
    for name, text in COUNTS.items():
        if about["counts"].get(name):
            print(f"  {about['counts'][name]:,} {text}")
    for line in about["told"][:MOST_LINES]:
        print(plain(f"  {line}"), file=sys.stderr)
    if len(about["told"]) > MOST_LINES:
        print(plain(f"  and {len(about['told']) - MOST_LINES:,} more, named in {manifest.folder / 'manifest.json'}"), file=sys.stderr)
