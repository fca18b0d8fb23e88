"""`bitmosaic index`: images as an index to search in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from bitmosaic.codec.base import fingerprint
from bitmosaic.commands.arguments import Background, Flag
from bitmosaic.commands.files import Files, tell_unreadable, tell_used
from bitmosaic.commands.pipelines import load
from bitmosaic.commands.real import FASHION, real_images
from bitmosaic.images import Fit, ImageSet, check_sizes
from bitmosaic.pipeline import Pipeline
from bitmosaic.search import Index, VectorSpec, vectors
from bitmosaic.search.index import CHUNK
from bitmosaic.search.vectors import medians_of

Data = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
BUILD_EVERY = 100  # chunks that are put on the shelf before they become findable


def index(
    data: Data, out: Out, *, by: Literal["codes", "bits", "features"] = "codes",
    structure: Literal["flat", "ivf", "hnsw", "ivf-pq"] = "flat", layer: int = -1, parts: int = 2, prune: Flag = False,
    fit: Fit = "exact", background: Background = "", pipeline: str = "fashion",
) -> Path:  # fmt: skip
    """Makes images findable by 'bitmosaic search'.

    The same command again adds images that are new in the folder, and goes on where it was stopped. Needs faiss:
    pip install 'bitmosaic[search]'.

    Args:
        data: a folder of images at any depth, or fashion-mnist (the test images, which ship), or fashion-mnist:train.
        out: folder of the index.
        by: codes, the bits of the tokenizer; bits, the signs of the prior's features; features, the features themselves.
        structure: flat compares with every image; ivf and hnsw with some; ivf-pq, for features, also keeps them small.
        layer: block that features are taken after, counted from 0; -1 is the middle.
        parts: along a side of the image, whose features are averaged apart.
        prune: images that are no longer in the folder can no longer be found.
        fit: for images of other sizes than the pipeline's, or in colour where it knows grey: exact refuses them, crop takes the centre,
            scales it, and makes grey of colour.
        background: what transparent images are laid on, such as black, white or '#336699'.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.

    Returns:
        The folder.
    """
    pipe, spec, out = load(pipeline), VectorSpec(by, layer, parts), Path(out).expanduser()
    blocks, side = len(pipe.prior.blocks), min(pipe.prior.grid)
    if layer >= blocks or parts > side:
        raise ValueError(f"layer, parts: got {layer} and {parts}; this pipeline has layers 0 to {blocks - 1} and at most {side} parts")
    images = indexed(data, pipe, fit, background or pipe.background)
    tell_used(images.told())
    names, root = named(images, data)
    found = opened(out, spec, structure, pipeline, of(pipe, spec), root)
    present = found.present()
    new = [i for i, name in enumerate(names) if name not in present]
    if root and fit == "exact":
        check_sizes([images.files[i] for i in new], tuple(pipe.tokenizer.image_size))
    medians = settled(found, pipe, images, new)
    with tqdm(total=len(new), desc="indexing", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
        for start in range(0, len(new), CHUNK):
            rows = torch.tensor(new[start : start + CHUNK])
            pixels, readable = images.read(rows)
            if bool(readable.any()):
                kept = [names[i] for i in rows[readable].tolist()]
                found.add(kept, vectors(pipe, pixels[readable], spec, medians))
            bar.update(len(rows))
            if found.chunks - found.about["indexed"] >= BUILD_EVERY and found.about["faiss"]:
                list(found.build())
    if not found.chunks:
        raise ValueError(f"data: no image in {data} can be read: {images.unreadable_summary(at_most=3)}")
    list(found.build())
    gone = found.remove(set(present) - set(names)) if prune else 0
    tell_unreadable(images)
    size = (out / found.about["faiss"]).stat().st_size
    changed = f"{len(new) - len(images.unreadable):,} new{f', {gone:,} removed' if gone else ''}"
    print(f"{len(found):,} images by {by}, {changed}: {out} ({size / max(1, len(found)):.0f} bytes each)")
    return out


def indexed(data: str, pipe: Pipeline, fit: Fit, background: str) -> ImageSet:
    """The images to index: of Fashion-MNIST, or every picture below a folder, since classes mean nothing here."""
    size, channels = pipe.tokenizer.image_size, pipe.tokenizer.channels
    if not Path(data).expanduser().is_dir():
        return real_images(data, size, channels)
    return Files([Path(data)], size, channels, fit, background, check=False)


def named(images: ImageSet, data: str) -> tuple[list[str], str]:
    """Names of the images, and the folder that they lie in: paths below it; numbers of a data set that has no files."""
    if data in FASHION and not Path(data).exists():
        return [f"{data}:{i}" for i in range(len(images))], ""
    root = Path(data).expanduser().resolve()
    return [str(file.resolve().relative_to(root)) if file.resolve().is_relative_to(root) else str(file) for file in images.files], str(root)


def of(pipe: Pipeline, spec: VectorSpec) -> str:
    """The fingerprint of what makes the vectors."""
    return fingerprint(pipe.tokenizer).hex() + (fingerprint(pipe.prior).hex() if spec.by != "codes" else "")


def opened(out: Path, spec: VectorSpec, structure: str, pipeline: str, made_by: str, root: str) -> Index:
    """The index in `out`, begun now where there is none. ValueError where it is another one."""
    if not (out / "index.json").is_file():
        return Index.begin(out, spec, structure, pipeline, made_by, root)
    found = Index.open(out)
    ours = {"vectors": spec.to_json(), "structure": structure, "fingerprint": made_by, "root": root}
    other = [f"{name} {found.about[name]!r}, not {value!r}" for name, value in ours.items() if found.about[name] != value]
    if other:
        raise ValueError(f"out: {out} holds another index ({'; '.join(other)}); give the same settings, or another folder")
    return found


def settled(found: Index, pipe: Pipeline, images: ImageSet, new: list[int]) -> np.ndarray | None:
    """The medians of an index, from its first images where it has none yet."""
    path = found.folder / "medians.npy"
    if found.spec.by == "bits" and not path.exists():
        pixels, readable = images.read(torch.tensor(new[: 2 * CHUNK]))
        beside = path.with_name("medians.new.npy")
        np.save(beside, medians_of(pipe, pixels[readable], found.spec))
        beside.replace(path)
    return found.medians()
