"""`bitmosaic compress`: images to bytes, one small file each."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from tqdm import tqdm

from bitmosaic.codec import Container
from bitmosaic.codes import Codes
from bitmosaic.commands.arguments import Background, Flag, Images
from bitmosaic.commands.files import Files, check_free, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import DEFAULT, load
from bitmosaic.images import Fit, in_order
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.pipelines.compression import AT_ONCE, compress_codes, opened

ENDING = ".bmc"
NAMED = 20  # files that a message names at most
Folder = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def compress(
    images: Images = (), *, coder: Literal["uniform", "static", "prior"] = "prior", packets: int = 1, fit: Fit = "exact",
    background: Background = "", pipeline: str = DEFAULT, out: Folder = Path("compressed"), replace: Flag = False,
) -> list[Path]:  # fmt: skip
    """Turns each image into a small file that 'bitmosaic decompress' reads, named after the picture: x.jpg becomes x.jpg.bmc.

    Files that are not readable pictures are skipped and named at the end.

    Args:
        images: picture files, and folders of them at any depth.
        coder: the entropy coder's model. uniform: every bit costs one bit; static: by each bit's frequency; prior: by the prior's own
            probabilities, smallest and slowest.
        packets: number of packets of a file, each with places spread over the image; 'decompress --restore' recovers those that are
            undamaged, with the coder prior only those before the first damaged one.
        fit: for images of another size than the pipeline's, or in colour for a grey pipeline: exact refuses them; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind transparent images, such as black, white or '#336699'.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        out: folder to write into. An existing file of the same picture is replaced; one of another picture stays, and an error names it.
        replace: also replace files of other pictures, and of the same pictures by another pipeline.

    Returns:
        The files written.
    """
    pipe, out = load(pipeline, kind=TwoStagePipeline), Path(out).expanduser()
    files = Files(images, pipe.size, pipe.channels, fit, background or pipe.background, medium=pipe.medium)
    tell_used(files.told())
    names = [f"{name}{ENDING}" for name in names_below(files.files, images)]
    for name in names:
        check_free(out, Path(name))
    made, others, start = {}, [], time.perf_counter()
    for number, data, codes in compressed(pipe, files, coder, packets):
        name = names[number]
        if not replace and _holds_another(pipe, out / name, data, codes):
            others.append(str(out / name))
        else:
            made[name] = data
    if not made and not others:
        raise ValueError(f"images: none of {len(files)} can be read: {files.unreadable_summary(at_most=3)}")
    seconds = time.perf_counter() - start
    with written_into(out, made) as folder:
        for name, data in made.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    tell_unreadable(files)
    if made:
        print(plain(f"{len(made)} {pipe.medium.plural}: {out} ({sizes(pipe, [*made.values()], seconds)})"))
    if others:
        raise ValueError(
            f"out: {len(others)} files are left as they are, since they hold other pictures, are of another pipeline, or cannot be read: "
            f"{some(others)}; give another folder, or --replace"
        )
    return [out / name for name in made]


def compressed(
    pipe: TwoStagePipeline, files: Files, coder: Literal["uniform", "static", "prior"], packets: int
) -> Iterator[tuple[int, bytes, Codes]]:  # fmt: skip
    """For each readable picture its number, compressed bytes and codes."""
    with tqdm(total=len(files), desc="compressing", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
        for batch in in_order(files, AT_ONCE):
            codes = pipe.encode_pixels(pipe.medium.floats(batch.images))
            for row, data in enumerate(compress_codes(pipe, codes, coder, packets)):
                yield int(batch.indices[row]), data, codes[row]
            bar.update(len(batch.images))


def sizes(pipe: TwoStagePipeline, made: Sequence[bytes], seconds: float) -> str:
    """A line on the mean size of the files and the speed of compression."""
    payload = sum(len(packet) for data in made for packet in Container.from_bytes(data).packets)
    values, whole = math.prod(pipe.size), sum(map(len, made)) / len(made)
    return (
        f"{whole:.1f} bytes each, of which {payload / len(made):.1f} are codes; {8 * whole / values:.3f} bits a {pipe.medium.value}; "
        f"{len(made) / seconds:.1f} {pipe.medium.plural} a second"
    )


def _holds_another(pipe: TwoStagePipeline, path: Path, data: bytes, codes: Codes) -> bool:
    """Whether there is a file that holds other codes than these of one image, regardless of the coder."""
    if not path.is_file():
        return False
    there = path.read_bytes()
    if there == data:
        return False
    held = opened(pipe, [there])
    return bool(held.refused) or not torch.equal(held.codes.digits, codes.digits.cpu())


def names_below(files: Sequence[Path], named: Sequence[Path]) -> list[str]:
    """A unique name for each file: its path below the folder that was named or, where two would be equal, below their nearest common
    folder. A file that is named twice has one name.
    """
    roots = [Path(os.path.abspath(root)) for root in (Path(path).expanduser() for path in named) if root.is_dir()]
    whole = [Path(os.path.abspath(file)) for file in files]  # without "..", which would lead out of the folder of the names
    below = [next((file.relative_to(root) for root in roots if file.is_relative_to(root)), Path(file.name)) for file in whole]
    if len(set(below)) < len(set(whole)):
        common = os.path.commonpath([path.parent for path in whole])
        below = [path.relative_to(common) for path in whole]
    return [str(name) for name in below]


def some(names: Sequence[str]) -> str:
    """The first `NAMED` names, and how many more there are, as text."""
    return plain(", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else ""))
