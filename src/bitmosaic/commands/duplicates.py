"""`bitmosaic duplicates`: images of an index that are copies of one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.index import tell
from bitmosaic.commands.search import SHOWN, Folder, distance_words, picture_of, ready, shown
from bitmosaic.folders import write_json
from bitmosaic.images import captioned, save
from bitmosaic.images.contents import Contents
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search import Hit, Index, Pair, groups, known, root_of, within
from bitmosaic.search import duplicates as find
from bitmosaic.search.compare import small

Within = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: the pictures themselves are compared)")]
PICTURED = 12  # groups on the sheet
WIDE = 6  # pictures of a group there
AT_ONCE = 1000  # pictures that are read before they are made small


def duplicates(index: Folder, *, within: Within = None, out: Path = Path("duplicates")) -> list[list[Hit]]:
    """Finds images that are copies of each other: recompressed, brighter or darker, shifted a little, or cropped.

    Similar pictures are aligned and compared; where pictures cannot be read, the vectors of the index are. The threshold is set by the
    distances between images that are not copies. Writes duplicates.json, every pair with its distance, and groups around one image
    each; and duplicates.png, the closest groups.

    Args:
        index: folder that 'bitmosaic index' wrote.
        within: take all pairs at most this far apart by the vectors alone: number of differing bits, or 2 - 2 cosine.
        out: folder to write into; files of the same name that bitmosaic wrote are replaced.

    Returns:
        The groups, those with the closest images first.
    """
    if within is not None and not within >= 0:
        raise ValueError(f"within: got {within}; give a distance of at least 0")
    found, pipe = ready(index)
    pairs, compared = by_distance(found, within) if within is not None else by_pictures(found, pipe)
    tell(found.mended)
    around = groups(pairs)
    files = ["duplicates.json", "duplicates.png"] if around else ["duplicates.json"]
    about = {"software": SOFTWARE, "index": str(index), "by": found.spec.by, "within": within, "images": len(found), "compared": compared}
    with written_into(out, files) as folder:
        write_json(folder / files[0], {**about, "pairs": [told(pair) for pair in pairs], "groups": [
            [{"image": hit.name, "distance": hit.distance} for hit in group] for group in around
        ]})  # fmt: skip
        if around:
            save(sheet(found, around[:PICTURED], pipe), folder / files[1], Software=SOFTWARE, Command="duplicates", Index=plain(index))
    words = distance_words(found)
    for group in around[:20]:
        print(f"{group[1].distance:8.4g}  {', '.join(plain(hit.name) for hit in group)}")
    if len(around) > 20:
        print(f"          and {some(len(around) - 20, 'group')} more")
    count = len({i for pair in pairs for i in pair.ids})
    limit = f"within {within:g} ({words})" if within is not None else f"distances: {words}"
    print(f"{some(len(pairs), 'pair')} in {some(len(around), 'group')}, {count:,} of {len(found):,} images, {limit}: {plain(out)}")
    return around


def some(count: int, what: str) -> str:
    """A count with its noun, such as "2 pairs"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def by_distance(found: Index, limit: float) -> tuple[list[Pair], int]:
    """Pairs by the vectors alone; no picture is compared."""
    return within(found, limit), 0


def by_pictures(found: Index, pipe: TwoStagePipeline) -> tuple[list[Pair], int]:
    """Pairs by comparing the readable pictures, and the number of these."""
    ids, pictures = read(found, pipe)
    if len(ids) < len(found):
        tell(f"{len(found) - len(ids):,} of {len(found):,} pictures cannot be read, or have changed since they were indexed: their copies "
             "are looked for by the vectors of the index alone, which finds fewer")  # fmt: skip
    with tqdm(desc="comparing", unit="pair", disable=None, dynamic_ncols=True, leave=False) as bar:

        def count(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        return find(found, ids, pictures, count), len(ids)


def read(found: Index, pipe: TwoStagePipeline) -> tuple[np.ndarray, Tensor]:
    """Ids of the images whose pictures are unchanged since they were indexed, and these pictures, reduced for comparison."""
    size, channels = pipe.image_size, pipe.channels
    present, root, held = found.present(), root_of(found), known(found)
    names = list(present)
    if root is not None:
        sums = Contents.of(root, names, held).sums
        same = (sums == held.sums).all(1) | (held.sums == 0).all(1)  # indexes of the first version have no checksums
        names = [name for name, good in zip(names, same.tolist(), strict=True) if good]
    ids, pictures, waiting = [], [small(torch.zeros(0, channels, *size, dtype=torch.uint8))], []
    for i, name in enumerate(tqdm(names, desc="reading", unit="image", disable=None, dynamic_ncols=True, leave=False)):
        picture = picture_of(found, root, name, size, channels)
        if picture is not None:
            ids.append(present[name])
            waiting.append(picture)
        if waiting and (len(waiting) == AT_ONCE or i == len(names) - 1):
            pictures.append(small(torch.stack(waiting)))
            waiting = []
    return np.array(ids, np.int64), torch.cat(pictures)


def told(pair: Pair) -> dict[str, Any]:
    """A pair as an entry of duplicates.json."""
    return {"images": list(pair.names), "distance": pair.distance, "difference": pair.difference, "limit": pair.limit}


def sheet(found: Index, some: Sequence[Sequence[Hit]], pipe: TwoStagePipeline) -> Any:
    """A sheet with a row for each group: its first image, then the others with their distances."""
    size, channels = pipe.image_size, pipe.channels
    blank = torch.full((channels, *size), 255, dtype=torch.uint8)
    pictures, captions, wide = [], [], min(WIDE, max(map(len, some)))
    for group in some:
        row = group[:wide]
        pictures += [*shown(found, row, size, channels), *[blank] * (wide - len(row))]
        captions += ["", *(f"{hit.distance:.4g}" for hit in row[1:]), *[""] * (wide - len(row))]
    return captioned(torch.stack(pictures).float() / 255, captions, wide, max(1, SHOWN // size[0]))
