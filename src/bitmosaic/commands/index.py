"""`bitmosaic index`: images as an index to search in."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from bitmosaic.codec.base import fingerprint
from bitmosaic.commands.arguments import Background, Flag
from bitmosaic.commands.files import Files, tell_unreadable, tell_used
from bitmosaic.commands.pipelines import DEFAULT, load
from bitmosaic.commands.real import real_images
from bitmosaic.images import NAMED_SETS, Fit, ImageSet, check_sizes
from bitmosaic.images.contents import BYTES, Contents
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search import CHUNK, Damaged, Index, VectorSpec, known, locked, medians, move, note, vectors, write_medians
from bitmosaic.search.vectors import medians_of

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
BUILD_EVERY = 100  # chunks that are put on the shelf before they become findable
SAME = 0.5  # share of an index's images that a folder must hold to be taken for where they have moved


def index(
    data: Data, out: Out, *, by: Literal["codes", "bits", "features"] = "codes",
    structure: Literal["flat", "ivf", "hnsw", "ivf-pq"] = "flat", layer: int = -1, parts: int = 2, prune: Flag = False,
    fit: Fit = "exact", background: Background = "", pipeline: str = DEFAULT,
) -> Path:  # fmt: skip
    """Makes images findable by 'bitmosaic search'.

    The same command again adds images that are new in the folder, takes those anew that have been written over, makes anew what is damaged,
    and goes on where it was stopped. A folder that has moved is followed. Needs faiss: pip install 'bitmosaic[search]'.

    Args:
        data: a folder of images at any depth, or a named set, such as fashion-mnist or landscapes (test images, which ship), or
            fashion-mnist:train.
        out: folder of the index.
        by: codes, the bits of the tokenizer; bits, the signs of the prior's features; features, the features themselves.
        structure: flat compares with every image; ivf and hnsw with some; ivf-pq, for features, also keeps them small.
        layer: block that features are taken after, counted from 0; -1 is the middle.
        parts: along a side of the image, whose features are averaged apart.
        prune: images whose files are gone can no longer be found.
        fit: for images of other sizes than the pipeline's, or in colour where it knows grey: exact refuses them, crop takes the centre,
            scales it, and makes grey of colour.
        background: what transparent images are laid on, such as black, white or '#336699'.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.

    Returns:
        The folder.
    """
    pipe, spec, out = load(pipeline, kind=TwoStagePipeline), VectorSpec(by, layer, parts), Path(out).expanduser()
    blocks, side = len(pipe.prior.blocks), min(pipe.prior.grid)
    if layer >= blocks or parts > side:
        raise ValueError(f"layer, parts: got {layer} and {parts}; this pipeline has layers 0 to {blocks - 1} and at most {side} parts")
    images = indexed(data, pipe, fit, background or pipe.background)
    tell_used(images.told())
    names, root = named(images, data)
    if all(images.image(i) is None for i in range(len(images))):
        raise ValueError(f"data: no image in {plain(data)} can be read: {images.unreadable_summary(at_most=3)}")
    with locked(out, lambda: tell(f"another process writes into {out}; this one goes on when it is done")):
        place = str(Path(pipeline).expanduser().resolve()) if Path(pipeline).expanduser().is_dir() else pipeline
        found = opened(out, spec, structure, place, of(pipe, spec), root, background or pipe.background)
        found.alone = True
        clean(out)
        mend(found)
        work = Work.of(found, names, root)
        follow(found, root, work)
        if root and fit == "exact":
            check_sizes([images.files[i] for i in work.rows], tuple(pipe.image_size))
        done = shelve(found, pipe, images, work)
        list(found.build())
        gone = [name for name in found.present().keys() - set(names) if is_gone(root, name)] if root else []
        left = found.remove(gone) if prune else 0
    tell(found.mended)
    tell_unreadable(images)
    size = (out / found.about["faiss"]).stat().st_size / max(1, len(found))
    done = {**done, "removed": left + done["removed"], "gone from the folder (--prune takes them out)": len(gone) - left}
    changed = ", ".join(f"{count:,} {word}" for word, count in done.items() if count or word == "new")
    print(f"{len(found):,} images by {by}, {changed}: {plain(out)} ({size:.0f} bytes each)")
    return out


@dataclass
class Work:
    """What is to be done. names: of all images; rows: numbers of those to be coded; contents: of the files, None where there are none;
    same: how many images of the index are in the folder with the same content.
    """

    names: list[str]
    rows: list[int]
    contents: Contents | None
    same: int

    @staticmethod
    def of(found: Index, names: list[str], root: str) -> Work:
        """Compares the files with what the index knows of them: their size and times, and where these are others their content."""
        held = known(found)
        before = dict(zip(held.names, map(bytes, held.sums), strict=True))
        if not root:
            return Work(names, [i for i, name in enumerate(names) if name not in before], None, len(before))
        with tqdm(total=len(names), desc="looking", unit="file", disable=None, dynamic_ncols=True, leave=False) as bar:
            contents = Contents.of(Path(root), names, held, bar.update)
        sums, unread = list(map(bytes, contents.sums)), bytes(BYTES)
        rows = [i for i, name in enumerate(names) if before.get(name, unread) == unread or sums[i] not in (before[name], unread)]
        same = sum(before.get(name, unread) != unread and before[name] == sums[i] for i, name in enumerate(names))
        return Work(names, rows, contents, same)


def shelve(found: Index, pipe: TwoStagePipeline, images: ImageSet, work: Work) -> dict[str, int]:
    """Codes what is new or changed; how many images were new, changed, and taken out since they cannot be read any more."""
    before, done, lost, anew = found.present(), {"new": 0, "changed": 0, "removed": 0}, [], found.first_version
    if anew:
        tell(f"{found.folder} is of the first version, which knew nothing of its files: all {len(work.names):,} images are coded again")
    middle = settled(found, pipe, images, work.rows)
    if work.contents is not None:
        note(found, work.contents)
    with tqdm(total=len(work.rows), desc="indexing", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
        for start in range(0, len(work.rows), CHUNK):
            rows = work.rows[start : start + CHUNK]
            pixels, readable = images.read(torch.tensor(rows))
            lost += [work.names[i] for i, good in zip(rows, readable.tolist(), strict=True) if not good and work.names[i] in before]
            kept = torch.tensor(rows)[readable].tolist()
            if kept:
                names = [work.names[i] for i in kept]
                about = () if work.contents is None else (work.contents.stats[kept], work.contents.sums[kept])
                found.add(names, vectors(pipe, pixels[readable], found.spec, middle), *about, medians=middle)
                done["changed"] += sum(name in before and not anew for name in names)
                done["new"] += sum(name not in before or anew for name in names)
            bar.update(len(rows))
            if found.chunks - found.about["indexed"] >= BUILD_EVERY and found.about["faiss"]:
                list(found.build())
    if anew:
        found.upgrade()
    done["removed"] = found.remove(lost)
    return done


def indexed(data: str, pipe: TwoStagePipeline, fit: Fit, background: str) -> ImageSet:
    """The images to index: of a named set, or every picture below a folder, since classes mean nothing here."""
    size, channels = pipe.image_size, pipe.channels
    if not Path(data).expanduser().is_dir():
        return real_images(data, size, channels)
    return Files([Path(data)], size, channels, fit, background, check=False)


def named(images: ImageSet, data: str) -> tuple[list[str], str]:
    """Names of the images, and the folder that they lie in: paths below it; numbers of a data set that has no files."""
    if data in NAMED_SETS and not Path(data).exists():
        return [f"{data}:{i}" for i in range(len(images))], ""
    path = Path(data).expanduser()
    return [file.relative_to(path).as_posix() for file in images.files], str(path.resolve())


def of(pipe: TwoStagePipeline, spec: VectorSpec) -> str:
    """The fingerprint of what makes the vectors."""
    return fingerprint(pipe.tokenizer).hex() + (fingerprint(pipe.prior).hex() if spec.by != "codes" else "")


def opened(out: Path, spec: VectorSpec, structure: str, pipeline: str, made_by: str, root: str, background: str) -> Index:
    """The index in `out`, begun now where there is none, or where it does not say what it is. ValueError where it is another one."""
    try:
        found = Index.open(out) if (out / "index.json").is_file() else None
    except Damaged as error:
        tell(f"{error.path} {error.reason}: it is made again")
        found = None
    if found is None:
        return Index.begin(out, spec, structure, pipeline, made_by, root, background)
    ours = {"vectors": spec.to_json(), "fingerprint": made_by} | ({"structure": structure} if found.about["faiss"] else {})
    ours |= {"background": background} if found.about["background"] else {}  # the first version did not know
    other = [f"{name} {found.about[name]!r}, not {value!r}" for name, value in ours.items() if found.about[name] != value]
    if other:
        raise ValueError(f"out: {plain(out)} holds another index ({'; '.join(other)}); give the same settings, or another folder")
    if found.about["structure"] != structure:  # of what was begun and not built, as ivf-pq of too few images
        found.restructure(structure)
    if found.about["pipeline"] != pipeline:  # the same one, at another place
        found.write_about(pipeline=pipeline)
    return found


def clean(out: Path) -> None:
    """Takes away what commands that were killed have left."""
    for path in (*out.glob("*.new"), *out.glob(".*.new"), *(out / "chunks").glob("*.new")):
        path.unlink(missing_ok=True)


def mend(found: Index) -> None:
    """Leaves nothing in damaged chunks, so that their images are coded again."""
    for number, error in found.shelf.damaged():
        tell(f"{error.path} {error.reason}: its images are coded again")
        found.empty(number)


def follow(found: Index, root: str, work: Work) -> None:
    """Lets the index follow a folder that has moved. ValueError where `root` is another one."""
    before, count = found.about["root"], len(found)
    if bool(before) != bool(root):
        raise ValueError(plain(f"out: {found.folder} holds an index of {before or 'images that ship'}; give that, or another folder"))
    if before and before != root:
        same = sum((Path(root) / name).exists() for name in found.present()) if found.first_version else work.same
        if same < SAME * min(count, len(work.names)):
            raise ValueError(plain(f"out: {found.folder} holds an index of {before}, and {same:,} of its {count:,} images lie in {root} "
                                   "with the same content; give that folder, or another one for the index"))  # fmt: skip
        tell(f"the images have moved from {before} to {root}")
    if root:
        move(found, root)


def is_gone(root: str, name: str) -> bool:
    """Whether there is no file of that name any more; not where that cannot be told."""
    try:
        return not stat.S_ISREG(os.stat(os.path.join(root, name)).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def settled(found: Index, pipe: TwoStagePipeline, images: ImageSet, new: Sequence[int]) -> np.ndarray | None:
    """The medians of an index, from its first images where it has none yet."""
    try:
        return medians(found)
    except Damaged:  # none yet; what the first version made with others cannot be used
        for number in range(found.chunks):
            if found.shelf.rows(number).names:
                found.empty(number)
        pixels, readable = images.read(torch.tensor(new[: 2 * CHUNK]))
        new_ones = medians_of(pipe, pixels[readable], found.spec)
        write_medians(found, new_ones)
        return new_ones


def tell(line: str) -> None:
    """On stderr, unless it is empty."""
    if line:
        print(f"bitmosaic: {plain(line)}", file=sys.stderr, flush=True)
