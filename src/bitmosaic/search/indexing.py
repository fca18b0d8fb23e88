"""Images into an index: what is new, changed, damaged or gone since the last time is found out, and only that is coded."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bitmosaic.codec.base import fingerprint
from bitmosaic.images import ImageSet, check_sizes
from bitmosaic.images.contents import BYTES, Contents
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search.about import locked
from bitmosaic.search.files import known, move, note
from bitmosaic.search.index import Index
from bitmosaic.search.medians import medians, write_medians
from bitmosaic.search.vector_store import CHUNK, Damaged
from bitmosaic.search.vectors import VectorSpec, medians_of, vectors

BUILD_EVERY = 100  # chunks that are put in the store before they become findable
SAME = 0.5  # share of an index's images that a folder must hold to be taken for where they have moved
Tell = Callable[[str], object]  # is told what was mended, in a line
Bar = Callable[[str, str, int], AbstractContextManager[Callable[[int], object]]]  # of a title, a unit and how many: counts what is done


@contextmanager
def no_bar(title: str, unit: str, total: int) -> Iterator[Callable[[int], object]]:
    """Shows nothing."""
    yield bool


def index_images(
    images: ImageSet, names: Sequence[str], out: Path, pipe: TwoStagePipeline, spec: VectorSpec, structure: str = "flat", *,
    place: str = "", root: str = "", background: str = "white", files: Sequence[Path] = (), prune: bool = False, tell: Tell = bool,
    bar: Bar = no_bar,
) -> tuple[Index, dict[str, int]]:  # fmt: skip
    """Makes images findable in the index `out`, which is begun, or goes on where it was; it and how many were new, changed, removed, gone.

    names: of the images, paths below the folder `root` where they have files; place: where the pipeline is found again; background: what
    transparent images were laid on; files: of the images, where new ones of another size than the pipeline's are refused; prune: images
    whose files are gone are taken out. ValueError where `out` holds another index, or one of another folder.
    """
    names, out = [*names], Path(out).expanduser()
    with locked(out, lambda: tell(f"another process writes into {out}; this one goes on when it is done")):
        found = opened(out, spec, structure, place, made_by(pipe, spec), root, background, tell)
        found.alone = True
        clean(out)
        mend(found, tell)
        work = Work.of(found, names, root, bar)
        follow(found, root, work, tell)
        if files:
            check_sizes([files[i] for i in work.rows], tuple(pipe.image_size))
        done = shelve(found, pipe, images, work, tell, bar)
        list(found.build())
        gone = [name for name in found.present().keys() - set(names) if is_gone(root, name)] if root else []
        left = found.remove(gone) if prune else 0
    return found, {**done, "removed": left + done["removed"], "gone": len(gone) - left}


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
    def of(found: Index, names: list[str], root: str, bar: Bar) -> Work:
        """Compares the files with what the index knows of them: their size and times, and where these are others their content."""
        held = known(found)
        before = dict(zip(held.names, map(bytes, held.sums), strict=True))
        if not root:
            return Work(names, [i for i, name in enumerate(names) if name not in before], None, len(before))
        with bar("looking", "file", len(names)) as advance:
            contents = Contents.of(Path(root), names, held, advance)
        sums, unread = list(map(bytes, contents.sums)), bytes(BYTES)
        rows = [i for i, name in enumerate(names) if before.get(name, unread) == unread or sums[i] not in (before[name], unread)]
        same = sum(before.get(name, unread) != unread and before[name] == sums[i] for i, name in enumerate(names))
        return Work(names, rows, contents, same)


def shelve(
    found: Index, pipe: TwoStagePipeline, images: ImageSet, work: Work, tell: Tell, bar: Bar
) -> dict[str, int]:  # fmt: skip
    """Codes what is new or changed; how many images were new, changed, and taken out since they cannot be read any more."""
    before, done, lost, anew = found.present(), {"new": 0, "changed": 0, "removed": 0}, [], found.first_version
    if anew:
        tell(f"{found.folder} is of the first version, which knew nothing of its files: all {len(work.names):,} images are coded again")
    middle = settled(found, pipe, images, work.rows)
    if work.contents is not None:
        note(found, work.contents)
    with bar("indexing", "image", len(work.rows)) as advance:
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
            advance(len(rows))
            if found.chunks - found.about["indexed"] >= BUILD_EVERY and found.about["faiss"]:
                list(found.build())
    if anew:
        found.upgrade()
    done["removed"] = found.remove(lost)
    return done


def made_by(pipe: TwoStagePipeline, spec: VectorSpec) -> str:
    """The fingerprint of what makes the vectors."""
    return fingerprint(pipe.tokenizer).hex() + (fingerprint(pipe.prior).hex() if spec.by != "codes" else "")


def opened(
    out: Path, spec: VectorSpec, structure: str, pipeline: str, made: str, root: str, background: str, tell: Tell
) -> Index:  # fmt: skip
    """The index in `out`, begun now where there is none, or where it does not say what it is. ValueError where it is another one."""
    try:
        found = Index.open(out) if (out / "index.json").is_file() else None
    except Damaged as error:
        tell(f"{error.path} {error.reason}: it is made again")
        found = None
    if found is None:
        return Index.begin(out, spec, structure, pipeline, made, root, background)
    ours = {"vectors": spec.to_json(), "fingerprint": made} | ({"structure": structure} if found.about["faiss"] else {})
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


def mend(found: Index, tell: Tell) -> None:
    """Leaves nothing in damaged chunks, so that their images are coded again."""
    for number, error in found.store.damaged():
        tell(f"{error.path} {error.reason}: its images are coded again")
        found.empty(number)


def follow(found: Index, root: str, work: Work, tell: Tell) -> None:
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
            if found.store.rows(number).names:
                found.empty(number)
        pixels, readable = images.read(torch.tensor(new[: 2 * CHUNK]))
        new_ones = medians_of(pipe, pixels[readable], found.spec)
        write_medians(found, new_ones)
        return new_ones
