"""`bitmosaic duplicates`: images of an index that are nearly the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro

from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.search import SHOWN, Folder, distance_words, ready, shown
from bitmosaic.folders import write_json
from bitmosaic.images import captioned, save
from bitmosaic.search import Hit

Within = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: 5 % of the bits, or 0.05)")]
PICTURED = 12  # groups on the sheet
WIDE = 6  # pictures of a group there


def duplicates(index: Folder, *, within: Within = None, out: Path = Path("duplicates")) -> list[list[Hit]]:
    """Finds groups of images that are nearly the same.

    Writes duplicates.json, all groups, and duplicates.png, the closest.

    Args:
        index: folder that 'bitmosaic index' wrote.
        within: images no further apart are duplicates: bits that differ, or 2 - 2 cosine.
        out: folder to write into; files of the same name that bitmosaic wrote are replaced.

    Returns:
        The groups, those with the closest images first.
    """
    found, pipe = ready(index)
    within = within if within is not None else 0.05 * (8 * found._chunk(0)[1].shape[1] if found.spec.binary else 1)
    if within < 0:
        raise ValueError(f"within: got {within}; want a distance, not below 0")
    groups, size, channels = found.duplicates(within), pipe.tokenizer.image_size, pipe.tokenizer.channels
    files = ["duplicates.json", "duplicates.png"] if groups else ["duplicates.json"]
    with written_into(out, files) as folder:
        rows = [[{"image": hit.name, "distance": hit.distance} for hit in group] for group in groups]
        write_json(folder / files[0], {"software": SOFTWARE, "index": str(index), "within": within, "groups": rows})
        if groups:
            blank = torch.full((channels, *size), 255, dtype=torch.uint8)
            pictures, captions = [], []
            wide = min(WIDE, max(map(len, groups[:PICTURED])))
            for group in groups[:PICTURED]:
                some = group[:wide]
                pictures += [*shown(found, some, size, channels), *[blank] * (wide - len(some))]
                captions += [*(f"{hit.distance:.4g}" for hit in some), *[""] * (wide - len(some))]
            sheet = captioned(torch.stack(pictures).float() / 255, captions, wide, max(1, SHOWN // size[0]))
            save(sheet, folder / files[1], Software=SOFTWARE, Command="duplicates", Index=str(index))
    for group in groups[:20]:
        print(f"{min(hit.distance for hit in group):8.4g}  {', '.join(hit.name for hit in group)}")
    count = sum(map(len, groups))
    print(f"{len(groups):,} groups, {count:,} of {len(found):,} images, within {within:g} ({distance_words(found)}): {out}")
    return groups
