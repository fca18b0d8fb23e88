"""A folder of codes from its beginning to its manifest: of which images and by which tokenizer it is, what is there already, and the rest.

Several processes may work on one folder; where the first has begun it, the others go on with what it noted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bitmosaic.disk import writing
from bitmosaic.folders import load_part, part_fingerprint, read_json, write_json, written_beside
from bitmosaic.media import PICTURES
from bitmosaic.spec import Spec
from bitmosaic.tokenizers import Tokenizer, TokenizerSpec
from bitmosaic.train.finish import finish, remove_damaged
from bitmosaic.train.sources import Source
from bitmosaic.train.tokenize import tokenize_pieces
from bitmosaic.train.tokenized import FORMAT, Manifest

OURS = {"begun.json", "scan.json", "manifest.json", "tokenizer", "shards", "locks"}  # what lies in a folder of codes


class OtherCodes(ValueError):
    """What lies in a folder was made of other images, or in another way."""


@dataclass(frozen=True)
class Tokenizing:
    """A folder of codes that is begun, by this process or another; `run` makes what is missing in it."""

    out: Path
    source: Source
    tokenizer: Tokenizer
    settings: dict[str, Any]
    damaged: list[str]  # shards that were, and are made anew

    @staticmethod
    def begin(
        out: Path, find: Callable[[], Source], part: Path, views: str = "plain", tell: Callable[[Source], object] = bool
    ) -> Tokenizing:
        """Begins a folder, or goes on with one.

        find: gives the images, asked again where a list of them that was kept in `out` has changed; part: the folder of a tokenizer of
        pictures; views: as `images.views` names them; tell: is shown the images before anything else is done. ValueError where there are
        no such images or tars, and OtherCodes where the folder was begun with others, another tokenizer or other views.
        """
        check_of_pictures(part)
        with begun_in(out):
            source = find()
            tell(source)
            check_there(source, out)
            try:
                settings = noted(out, source, part, views)
            except OtherCodes:
                if not (out / "scan.json").exists():
                    raise
                (out / "scan.json").unlink()  # the list that was kept may be what is wrong
                source = find()
                settings = noted(out, source, part, views)
            tokenizer = load_part(out / "tokenizer", Tokenizer)
            damaged = remove_damaged(source, out, tokenizer, settings)
            check_there(source, out)
        return Tokenizing(out, source, tokenizer, settings, damaged)

    def run(self, device: str = "cpu", advance: Callable[[int], object] = bool) -> Manifest:
        """Makes what is missing and waits for what others make; `advance` is told how many images are done."""
        tokenizer, manifest = self.tokenizer.to(device), None
        while manifest is None:
            for _ in tokenize_pieces(self.source, tokenizer, self.out, self.settings["views"], advance):
                pass
            manifest = finish(self.source, self.out, tokenizer, self.settings)
        return manifest


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


def noted(out: Path, source: Source, part: Path, views: str) -> dict[str, Any]:
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


def named(things: Sequence[str], most: int = 8) -> str:
    """The first of several things, and how many more there are."""
    return ", ".join(things[:most]) + (f" and {len(things) - most:,} more" if len(things) > most else "")
