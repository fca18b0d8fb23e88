"""`bitmosaic tokenize`: any number of images to packed codes in shards, to train priors on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from bitmosaic.commands.arguments import Flag
from bitmosaic.commands.files import tell_used
from bitmosaic.commands.pipelines import DEFAULT, check_device, find
from bitmosaic.images import NAMED_SETS
from bitmosaic.images.captions import BESIDE, captions_of
from bitmosaic.images.labels import MOST, LabelFile
from bitmosaic.images.real import named_images
from bitmosaic.images.scan import Scan
from bitmosaic.images.scanned import kept_scan
from bitmosaic.images.tars import is_tars
from bitmosaic.images.views import VIEWS
from bitmosaic.names import plain
from bitmosaic.train.finish import COUNTS
from bitmosaic.train.processes import own_device
from bitmosaic.train.sealed import check
from bitmosaic.train.sources import ListedImages, Source, Tars
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.tokenizing import Tokenizing, check_out, named

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
MOST_LINES = 40  # about what was wrong, on the screen; the manifest has all


def tokenize(
    data: Data, out: Out, *, pipeline: str = DEFAULT, views: Literal["plain", "flip", "ten-crop"] = "plain", labels: Path | None = None,
    classes: int | None = None, no_classes: Flag = False, captions: str = "", shard_images: int = 1000, device: str = "auto",
) -> Path:  # fmt: skip
    """Encodes images to packed codes in shards, which 'bitmosaic train RECIPE --codes OUT' trains a prior on.

    The same command again resumes where it was stopped; several processes, started by hand or by torchrun, share the work. On a CPU
    each takes one core. Unreadable images, duplicates and the like are counted and do not stop it.

    Args:
        data: a folder of images, whose sub-folders are classes; tar shards such as 'shards/train-{000..146}.tar' or a URL of one, which
            needs 'bitmosaic[data]'; a named set, such as fashion-mnist or landscapes (bundled test images), or fashion-mnist:train.
        out: folder of the codes.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline, a finished training run or a tokenizer.
        views: crops of each image. plain: the centre; flip: the centre and its mirror image; ten-crop: four corners and the centre, and
            their mirror images.
        labels: a file with the name of an image and its class on each line, instead of sub-folders or .cls files.
        classes: number of classes in tars, whose .cls files hold class numbers; by default one more than the highest.
        no_classes: take every image below the folder; sub-folders are not classes.
        captions: 'beside' where name.txt lies beside name.png, in a folder or in tars; or a CSV or JSON Lines file of them for a folder.
            They are kept with the codes.
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
    check_out(out, data)
    file = LabelFile(labels) if labels else None
    begun = Tokenizing.begin(
        out, lambda: source_of(data, out, shard_images, file, classes, no_classes, captions), part, views,
        lambda source: tell_used(source.told() if speak else ()),
    )  # fmt: skip
    if begun.damaged and speak:
        print(plain(f"bitmosaic: damaged, made anew: {named(begun.damaged)}"), file=sys.stderr)
    total = begun.source.count if isinstance(begun.source, ListedImages) else None
    with tqdm(total=total, desc="tokenizing", unit="image", disable=None if speak else True, dynamic_ncols=True, leave=False) as bar:
        manifest = begun.run(device, bar.update)
    if speak:
        tell(manifest)
    return out


def tokenizer_folder(pipeline: str) -> Path:
    """The folder of a pipeline's tokenizer, or of a tokenizer alone, such as that of a training run whose prior is not trained yet."""
    alone = Path(pipeline).expanduser()
    if (alone / "model.safetensors").is_file() and (alone / "config.json").is_file():
        check(alone, "give another")
        return alone
    return find(pipeline) / "tokenizer"


def source_of(
    data: str, out: Path, each: int, labels: LabelFile | None, classes: int | None, no_classes: bool = False, captions: str = ""
) -> Source:  # fmt: skip
    """The images that `data` names. ValueError where there are none, or where labels, classes or captions do not fit their kind."""
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
        raise ValueError(f"classes: got {classes} for a folder or set; leave it out: a folder's classes are its sub-folders")
    if captions and not isinstance(found, Scan):
        raise ValueError(f"captions: {data} has none; leave them out, or give a folder of pictures")
    return ListedImages(found, data, each, labels, captions_of(captions, found) if captions else None)


def tell(manifest: Manifest) -> None:
    """Prints what was made, and what was wrong."""
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
