"""`bitmosaic search`: the nearest images of an index."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from bitmosaic.commands.arguments import Background
from bitmosaic.commands.edited import Picture, given
from bitmosaic.commands.files import SOFTWARE, file_name, written_into
from bitmosaic.commands.index import of
from bitmosaic.commands.pipelines import load
from bitmosaic.commands.real import FASHION
from bitmosaic.images import Fit, captioned, fashion_mnist, fashion_sample, fitted, read_image, save
from bitmosaic.pipeline import Pipeline
from bitmosaic.search import Hit, Index, vectors

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INDEX")]
Count = Annotated[int, tyro.conf.arg(aliases=["-k"])]
SHOWN = 112  # pixels that a picture is at least high on the sheet
COLUMNS = 6


def search(
    index: Folder, image: Picture, *, count: Count = 10, fit: Fit = "exact", background: Background = "", out: Path = Path("search")
) -> list[Hit]:  # fmt: skip
    """Finds the images of an index that are nearest to a picture.

    Prints them, and writes NAME-search.png and NAME-search.html with the pictures.

    Args:
        index: folder that 'bitmosaic index' wrote.
        image: a picture, or a test image that ships, such as fashion:17.
        count: how many.
        fit: for an image of another size than the pipeline's, or in colour where it knows grey: exact refuses it, crop takes the centre,
            scales it, and makes grey of colour.
        background: what a transparent image is laid on, such as black, white or '#336699'.
        out: folder to write into; files of the same name that bitmosaic wrote are replaced.

    Returns:
        What was found, nearest first.
    """
    found, pipe = ready(index)
    size, channels = pipe.tokenizer.image_size, pipe.tokenizer.channels
    asked = fitted(given(image, background or pipe.background), size, channels, fit)
    hits = found.search(vectors(pipe, asked[None], found.spec, found.medians()), count)[0]
    stem = f"{file_name(Path(image).stem if Path(image).exists() else image)}-search"
    pictures = shown(found, hits, size, channels)
    words = distance_words(found)
    with written_into(out, [f"{stem}.png", f"{stem}.html"]) as folder:
        captions = ["asked", *(f"{hit.distance:.4g}" for hit in hits)]
        sheet = captioned(torch.stack([asked, *pictures]).float() / 255, captions, COLUMNS, max(1, SHOWN // size[0]))
        save(sheet, folder / f"{stem}.png", Software=SOFTWARE, Command="search", Index=str(index), Image=image)
        (folder / f"{stem}.html").write_text(page(image, hits, words, f"{stem}.png"), encoding="utf-8")
    width = max([len(hit.name) for hit in hits] or [0])
    for rank, hit in enumerate(hits, 1):
        print(f"{rank:3}  {hit.name:<{width}}  {hit.distance:.4g} {words}")
    print(f"{out / stem}.png, {out / stem}.html")
    return hits


def ready(folder: Path) -> tuple[Index, Pipeline]:
    """An index and the pipeline that made it. ValueError where the pipeline is another one now."""
    found = Index.open(folder)
    pipe = load(found.about["pipeline"])
    if of(pipe, found.spec) != found.about["fingerprint"]:
        raise ValueError(
            f"index: {folder} was made with another pipeline {found.about['pipeline']} ({found.about['fingerprint']}) than is there now "
            f"({of(pipe, found.spec)}); build it anew"
        )
    return found, pipe


def distance_words(found: Index) -> str:
    """What distances are."""
    return "bits differ" if found.spec.binary else "apart (2 - 2 cosine)"


def shown(found: Index, hits: list[Hit], size: tuple[int, int], channels: int) -> list[Tensor]:
    """The pictures of some hits, uint8 (C, H, W); grey where one is gone."""
    pictures = []
    for hit in hits:
        name, _, number = hit.name.rpartition(":")
        try:
            if name in FASHION and not found.about["root"]:
                pictures.append((fashion_sample() if name == "fashion-mnist" else fashion_mnist()).pixels[int(number)])
            else:
                pictures.append(read_image(str(Path(found.about["root"]) / hit.name), size, channels))
        except (ValueError, OSError, IndexError):
            pictures.append(torch.full((channels, *size), 128, dtype=torch.uint8))
    return pictures


def page(image: str, hits: list[Hit], words: str, sheet: str) -> str:
    """A small page: the sheet, and a table."""
    rows = "".join(
        f"<tr><td>{rank}</td><td>{escape(hit.name)}</td><td>{hit.distance:.4g}</td></tr>" for rank, hit in enumerate(hits, 1)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="generator" content="{SOFTWARE}"><title>Nearest to {escape(image)}</title><style>'
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "img{max-width:100%;image-rendering:pixelated}td,th{padding:.2rem 1rem .2rem 0;text-align:left}"
        f'</style><h1>Nearest to {escape(image)}</h1><img src="{escape(sheet)}" alt="The picture, and the nearest images">'
        f"<table><tr><th></th><th>image</th><th>{escape(words)}</th></tr>{rows}</table></html>\n"
    )
