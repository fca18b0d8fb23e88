"""`bitmosaic index`: an index of images, for search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from bitmosaic.commands.arguments import Background, Flag
from bitmosaic.commands.files import Files, tell_unreadable, tell_used
from bitmosaic.commands.pipelines import DEFAULT, load
from bitmosaic.images import NAMED_SETS, Fit, ImageSet
from bitmosaic.images.real import real_images
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search import VectorSpec, index_images

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]


def index(
    data: Data, out: Out, *, by: Literal["codes", "bits", "features"] = "codes",
    structure: Literal["flat", "ivf", "hnsw", "ivf-pq"] = "flat", layer: int = -1, parts: int = 2, prune: Flag = False,
    fit: Fit = "exact", background: Background = "", pipeline: str = DEFAULT,
) -> Path:  # fmt: skip
    """Builds or updates an index of images for 'bitmosaic search'.

    The same command again adds new images of the folder, updates changed ones, rebuilds damaged parts, and resumes where it was stopped.
    The folder of images may have moved. Needs faiss: pip install 'bitmosaic[search]'.

    Args:
        data: a folder of images at any depth, or a named set, such as fashion-mnist or landscapes (bundled test images), or
            fashion-mnist:train.
        out: folder of the index.
        by: the vectors. codes: digits of the tokenizer; bits: signs of the prior's features; features: the features themselves.
        structure: of faiss. flat compares with every image; ivf and hnsw with some; ivf-pq, for features, compresses them too.
        layer: block after which features are taken, counted from 0; -1: the middle one.
        parts: number of parts along a side of the image; features are averaged over each part.
        prune: remove images whose files are gone.
        fit: for images of another size than the pipeline's, or in colour for a grey pipeline: exact refuses them; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind transparent images, such as black, white or '#336699'.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.

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
    place = str(Path(pipeline).expanduser().resolve()) if Path(pipeline).expanduser().is_dir() else pipeline
    found, done = index_images(
        images, names, out, pipe, spec, structure, place=place, root=root, background=background or pipe.background,
        files=images.files if root and fit == "exact" else (), prune=prune, tell=tell, bar=bar,
    )  # fmt: skip
    tell(found.mended)
    tell_unreadable(images)
    size = (out / found.about["faiss"]).stat().st_size / max(1, len(found))
    done["gone from the folder (--prune takes them out)"] = done.pop("gone")
    changed = ", ".join(f"{count:,} {word}" for word, count in done.items() if count or word == "new")
    print(f"{len(found):,} images by {by}, {changed}: {plain(out)} ({size:.0f} bytes each)")
    return out


def indexed(data: str, pipe: TwoStagePipeline, fit: Fit, background: str) -> ImageSet:
    """The images to index: a named set, or every picture below a folder, whose classes are ignored."""
    size, channels = pipe.image_size, pipe.channels
    if not Path(data).expanduser().is_dir():
        return real_images(data, size, channels)
    return Files([Path(data)], size, channels, fit, background, check=False)


def named(images: ImageSet, data: str) -> tuple[list[str], str]:
    """Names of the images, and their folder: paths below it, or numbers within a named set, whose folder is empty."""
    if data in NAMED_SETS and not Path(data).exists():
        return [f"{data}:{i}" for i in range(len(images))], ""
    path = Path(data).expanduser()
    return [file.relative_to(path).as_posix() for file in images.files], str(path.resolve())


@contextmanager
def bar(title: str, unit: str, total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar; yields its update function."""
    with tqdm(total=total, desc=title, unit=unit, disable=None, dynamic_ncols=True, leave=False) as shown:
        yield shown.update


def tell(line: str) -> None:
    """Prints a line to stderr, unless it is empty."""
    if line:
        print(f"bitmosaic: {plain(line)}", file=sys.stderr, flush=True)
