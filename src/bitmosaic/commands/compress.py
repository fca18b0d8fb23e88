"""`bitmosaic compress`: images to bytes, one small file each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from bitmosaic.codec import Container
from bitmosaic.commands.arguments import Background, Images
from bitmosaic.commands.files import Files, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import load
from bitmosaic.compression import AT_ONCE, compress_codes
from bitmosaic.images import Fit, in_order

ENDING = ".bmc"
Folder = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def compress(
    images: Images = (), *, coder: Literal["uniform", "static", "prior"] = "prior", packets: int = 1, fit: Fit = "exact",
    background: Background = "", pipeline: str = "fashion", out: Folder = Path("compressed"),
) -> list[Path]:  # fmt: skip
    """Turns each image into a small file that 'bitmosaic decompress' reads.

    A file that is no readable picture is skipped and named at the end.

    Args:
        images: picture files, and folders of them at any depth.
        coder: uniform, every bit takes a bit; static, by how often each is 1; prior, by the model's own probabilities: smallest, and slow.
        packets: parts of a file, of places spread over the image; one that is cut short, or has lost some, can be restored from the others.
        fit: for images of other sizes than the pipeline's, or in colour where it knows grey: exact refuses them, crop takes the centre,
            scales it, and makes grey of colour.
        background: what transparent images are laid on, such as black, white or '#336699'.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        out: folder to write into; files of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written.
    """
    pipe = load(pipeline)
    files = Files(images, pipe.tokenizer.image_size, pipe.tokenizer.channels, fit, background or pipe.background)
    tell_used(files.told())
    names = [f"{name}{ENDING}" for name in files.names]
    made, payload, start = {}, 0, time.perf_counter()
    with tqdm(total=len(files), desc="compressing", unit="image", disable=None, dynamic_ncols=True, leave=False) as bar:
        for batch in in_order(files, AT_ONCE):
            found = compress_codes(pipe, pipe._codes(batch.images.float() / 255), coder, packets)
            for i, data in zip(batch.indices.tolist(), found, strict=True):
                made[names[i]] = data
                payload += sum(len(packet) for packet in Container.from_bytes(data).packets)
            bar.update(len(batch.images))
    if not made:
        raise ValueError(f"images: none of {len(files)} can be read: {files.unreadable_summary(at_most=3)}")
    seconds = time.perf_counter() - start
    with written_into(out, made) as folder:
        for name, data in made.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    tell_unreadable(files)
    pixels = pipe.tokenizer.image_size[0] * pipe.tokenizer.image_size[1]
    whole = sum(map(len, made.values())) / len(made)
    print(
        f"{len(made)} images: {out} ({whole:.1f} bytes each, of which {payload / len(made):.1f} are codes; "
        f"{8 * whole / pixels:.3f} bits a pixel; {len(made) / seconds:.1f} images a second)"
    )
    return [Path(out) / name for name in made]
