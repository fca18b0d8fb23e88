"""`bitmosaic tokenize`: images of any number to packed codes in shards, which priors are trained on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from filelock import FileLock
from tqdm import tqdm

from bitmosaic.commands.pipelines import check_device, find
from bitmosaic.commands.real import FASHION
from bitmosaic.folders import load_part, part_fingerprint, read_json, write_json, written_beside
from bitmosaic.images import fashion_mnist, fashion_sample
from bitmosaic.images.labels import MOST, LabelFile
from bitmosaic.images.scanned import kept_scan
from bitmosaic.images.tars import is_tars
from bitmosaic.images.views import VIEWS
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.processes import own_device
from bitmosaic.train.sources import Listed, Source, Tars
from bitmosaic.train.tokenize import COUNTS, finish, remove_damaged, tokenize_pieces
from bitmosaic.train.tokenized import FORMAT, Manifest

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
OURS = {"begun.json", "scan.json", "manifest.json", "tokenizer", "shards", "locks"}  # what lies in a folder of codes


def tokenize(
    data: Data, out: Out, *, pipeline: str = "fashion", views: Literal["plain", "flip", "ten-crop"] = "plain", labels: Path | None = None,
    classes: int | None = None, shard_images: int = 1000, device: str = "auto",
) -> Path:  # fmt: skip
    """Turns images into packed codes in shards, which 'bitmosaic train RECIPE --codes OUT' trains a prior on.

    The same command again goes on where it was stopped; started several times at once, or by torchrun, the processes share the work.
    On a CPU each takes one core. Broken images, duplicates and the like are counted and do not stop it.

    Args:
        data: a folder of images, whose sub-folders are classes; tar shards such as 'shards/train-{000..146}.tar' or a URL of one, by
            'bitmosaic[data]'; fashion-mnist (the test images, which ship), or fashion-mnist:train.
        out: folder of the codes.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, of an ended training run, or of a tokenizer alone.
        views: of each image: plain, its centre; flip, its mirror too; ten-crop, four corners and the middle, and their mirrors.
        labels: a file with the name of an image and its class on each line, instead of sub-folders or .cls files.
        classes: how many there are in tars, whose .cls files hold their numbers; otherwise the highest says it.
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
    part = tokenizer_folder(pipeline)
    check_out(out, data)
    (out / "locks").mkdir(parents=True, exist_ok=True)
    with FileLock(out / "locks" / "begin"):
        source = source_of(data, out, shard_images, LabelFile(labels) if labels else None, classes)
        settings = begin(out, source, part, views)
        damaged = remove_damaged(out)
    speak = os.environ.get("RANK", "0") == "0"
    if damaged and speak:
        print(f"bitmosaic: damaged shards, made anew: {', '.join(damaged[:8])}", file=sys.stderr)
    tokenizer = load_part(out / "tokenizer", Tokenizer).to(device)
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


def tokenizer_folder(pipeline: str) -> Path:
    """The tokenizer of a pipeline, or one that lies alone in a folder, as in that of a training run whose prior is not trained yet."""
    alone = Path(pipeline).expanduser()
    if (alone / "model.safetensors").is_file() and (alone / "config.json").is_file():
        return alone
    return find(pipeline) / "tokenizer"


def source_of(data: str, out: Path, each: int, labels: LabelFile | None, classes: int | None) -> Source:
    """What `data` names; ValueError where there is nothing, or nothing that these settings fit."""
    root = Path(data).expanduser()
    if data in FASHION and not root.exists():
        found: Any = fashion_sample() if data == "fashion-mnist" else fashion_mnist()
    elif root.is_dir():
        found = kept_scan(root, out / "scan.json")
    elif is_tars(data):
        return Tars(data, labels, None if labels else classes)
    else:
        raise ValueError(f"data: there is no folder {data}; give one, tar shards, or {' or '.join(FASHION)}")
    if classes is not None:
        raise ValueError("classes: is for tar shards; a folder's classes are its sub-folders")
    return Listed(found, data, each, labels)


def begin(out: Path, source: Source, part: Path, views: str) -> dict[str, Any]:
    """Notes what the folder is for and puts the tokenizer there, or checks that it is the same as before."""
    fingerprint = part_fingerprint(part)
    settings = {
        "format": FORMAT, "tokenizer": fingerprint, "views": views, "labels": source.file.fingerprint if source.file else "",
        "source": source.about(),
    }  # fmt: skip
    path = out / "begun.json"
    if path.exists():
        found = read_json(path)
        other = [name for name in settings if not isinstance(found, dict) or found.get(name) != settings[name]]
        if other:
            raise ValueError(f"out: {out} was begun with another {', '.join(other)}; give the same images and settings, or another folder")
        if (out / "tokenizer").is_dir() and part_fingerprint(out / "tokenizer") == fingerprint:
            return settings
    with written_beside(out / "tokenizer") as beside:
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(part / name, beside / name)
    write_json(path, settings)
    return settings


def tell(manifest: Manifest) -> None:
    """What was made, and what was wrong."""
    about = manifest.about
    images, views = about["images"], VIEWS[about["views"]]
    classes = f"{len(manifest.class_names)} classes" if manifest.class_names else "no classes"
    bits = manifest.grid[0] * manifest.grid[1] * sum((r - 1).bit_length() for r in about["radix"])
    print(f"{images:,} images x {views}, {bits:,} bits each, {classes}, {len(about['shards']):,} shards: {manifest.folder}")
    for name, text in COUNTS.items():
        if about["counts"][name]:
            print(f"  {about['counts'][name]:,} {text}")
    for line in about["told"]:
        print("  " + "".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
