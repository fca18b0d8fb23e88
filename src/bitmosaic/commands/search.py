"""`bitmosaic search`: the nearest images of an index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from bitmosaic.commands.arguments import Background, Flag
from bitmosaic.commands.edited import Picture, given
from bitmosaic.commands.files import SOFTWARE, file_name, written_into
from bitmosaic.commands.index import tell
from bitmosaic.commands.pipelines import load
from bitmosaic.images import NAMED_SETS, SET_OF, Fit, ImageSet, captioned, fitted, save
from bitmosaic.names import plain
from bitmosaic.pages import filled, part
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search import Hit, Index, made_by, medians, root_of, vectors

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INDEX")]
Count = Annotated[int, tyro.conf.arg(aliases=["-k"])]
SHOWN = 112  # pixels that a picture is at least high on the sheet
COLUMNS = 6
ITSELF = " (itself)"


def search(
    index: Folder, image: Picture, *, count: Count = 10, exclude_self: Flag = False, fit: Fit = "exact", background: Background = "",
    out: Path = Path("search"),
) -> list[Hit]:  # fmt: skip
    """Finds the images of an index that are nearest to a picture.

    Prints them, and writes NAME-search.png and NAME-search.html with the pictures. The picture itself is marked where it is in the index.

    Args:
        index: folder that 'bitmosaic index' wrote.
        image: a picture, or a bundled test image, such as fashion:17.
        count: number of images.
        exclude_self: leave out the picture itself, the same file or test image, where it is in the index; copies of it are still found.
        fit: for an image of another size than the pipeline's, or in colour for a grey pipeline: exact refuses it; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind a transparent image, such as black, white or '#336699'; that of the index unless given.
        out: folder to write into; files of the same name that bitmosaic wrote are replaced.

    Returns:
        The nearest images, nearest first.
    """
    found, pipe = ready(index)
    size, channels = pipe.image_size, pipe.channels
    asked = fitted(given(image, background or found.about["background"] or pipe.background), size, channels, fit)
    vector = vectors(pipe, asked[None], found.spec, medians(found))
    hits = found.search(vector, count)[0]
    out_of_it: set[int] = set()
    while exclude_self and (own := {hit.id for hit in hits if is_itself(found, hit, image)}):
        out_of_it |= own
        hits = found.search(vector, count, [out_of_it])[0]
    tell(found.mended)
    own = {hit.id for hit in hits if is_itself(found, hit, image)}
    rows = [(plain(hit.name) + (ITSELF if hit.id in own else ""), hit.distance) for hit in hits]
    stem, words = f"{file_name(Path(image).stem if Path(image).exists() else image)}-search", distance_words(found)
    with written_into(out, [f"{stem}.png", f"{stem}.html"]) as folder:
        captions = ["asked", *(f"{hit.distance:.4g}" + (ITSELF if hit.id in own else "") for hit in hits)]
        pictures = [asked, *shown(found, hits, size, channels)]
        sheet = captioned(torch.stack(pictures).float() / 255, captions, COLUMNS, max(1, SHOWN // size[0]))
        save(sheet, folder / f"{stem}.png", Software=SOFTWARE, Command="search", Index=plain(index), Image=plain(image))
        (folder / f"{stem}.html").write_text(page(plain(image), rows, words, f"{stem}.png"), encoding="utf-8")
    width = max([len(name) for name, _ in rows] or [0])
    for rank, (name, distance) in enumerate(rows, 1):
        print(f"{rank:3}  {name:<{width}}  {distance:.4g} {words}")
    if len(hits) < count:
        print(f"{len(hits):,} of {count:,} asked for: the index holds no more")
    print(plain(f"{out / stem}.png, {out / stem}.html"))
    return hits


def is_itself(found: Index, hit: Hit, image: str) -> bool:
    """Whether a hit is the query picture: the same file, by whatever path, or the same bundled test image."""
    if (root := root_of(found)) is None:
        name, _, number = image.partition(":")
        return not Path(image).exists() and hit.name == f"{SET_OF.get(name, name)}:{number}"
    try:
        return os.path.samefile(root / hit.name, Path(image).expanduser())
    except OSError:
        return False


def ready(folder: Path) -> tuple[Index, TwoStagePipeline]:
    """An index and the pipeline that made it. ValueError where the pipeline has changed since."""
    found = Index.open(folder)
    pipe = load(found.about["pipeline"], kind=TwoStagePipeline)
    if made_by(pipe, found.spec) != found.about["fingerprint"]:
        raise ValueError(
            f"index: {folder} was made with another pipeline {found.about['pipeline']} ({found.about['fingerprint']}) than is there now "
            f"({made_by(pipe, found.spec)}); build it anew in another folder, by 'bitmosaic index'"
        )
    return found, pipe


def distance_words(found: Index) -> str:
    """The unit of an index's distances, in words."""
    return "bits differ" if found.spec.binary else "apart (2 - 2 cosine)"


def shown(found: Index, hits: Sequence[Hit], size: tuple[int, int], channels: int) -> list[Tensor]:
    """The pictures of some hits, uint8 (C, H, W); grey for one that cannot be read."""
    grey = torch.full((channels, *size), 128, dtype=torch.uint8)
    root = root_of(found)
    return [grey if (picture := picture_of(found, root, hit.name, size, channels)) is None else picture for hit in hits]


def picture_of(found: Index, root: Path | None, name: str, size: tuple[int, int], channels: int) -> Tensor | None:
    """The picture of an image in an index, uint8 (C, H, W); None where it cannot be read."""
    try:
        if root is not None:
            return fitted(str(root / name), size, channels, "crop", found.about["background"] or "white")
        data, _, number = name.rpartition(":")
        return named(data).image(int(number))
    except (ValueError, OSError, IndexError, KeyError):
        return None


@cache
def named(data: str) -> ImageSet:
    """A set by its name in an index; KeyError for another."""
    return NAMED_SETS[data].load()


def page(image: str, hits: Sequence[tuple[str, float]], words: str, sheet: str) -> str:
    """A small page: the sheet, and a table of names and distances."""
    rows = [part("search", "row", rank=rank, name=name, distance=f"{distance:.4g}") for rank, (name, distance) in enumerate(hits, 1)]
    return filled("search", software=SOFTWARE, image=image, sheet=sheet, words=words, rows=rows)
