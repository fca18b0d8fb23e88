"""`bitmosaic encode`: images to one file of packed codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from bitmosaic.commands.arguments import Background, Images
from bitmosaic.commands.files import SOFTWARE, Files, tell_unreadable, tell_used, written_into
from bitmosaic.commands.pipelines import DEFAULT, fingerprint, load
from bitmosaic.images import Fit, in_order
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline

FORMAT = "bitmosaic codes 1"
BATCH = 64  # images at once


def encode(
    images: Images = (), *, fit: Fit = "exact", background: Background = "", pipeline: str = DEFAULT,
    out: Path = Path("codes.safetensors"), device: str = "cpu",
) -> Path:  # fmt: skip
    """Encodes images to codes, packed into one small file that 'bitmosaic decode' reads; sounds or clips with a pipeline for these.

    Files that are not readable pictures are skipped and named at the end.

    Args:
        images: picture files, and folders of them at any depth.
        fit: for images of another size than the pipeline's, or in colour for a grey pipeline: exact refuses them; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind transparent images, such as black, white or '#336699'.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        out: file to write, ending in .safetensors.
        device: where to compute, such as cpu or cuda.

    Returns:
        The file written.
    """
    out = Path(out).expanduser()
    if out.suffix != ".safetensors":
        raise ValueError(f"out: got {str(out)!r}; end it in .safetensors")
    pipe = load(pipeline, device, TwoStagePipeline)
    tokenizer = pipe.tokenizer
    files = Files(images, tokenizer.size, tokenizer.channels, fit, background or pipe.background, medium=tokenizer.medium)
    tell_used(files.told())
    with written_into(out.parent, [out.name]) as folder:
        packed, names, codes = [], [], None
        with tqdm(
            total=len(files), desc="encoding", unit="image", disable=None, dynamic_ncols=True, leave=False
        ) as bar:
            for batch in in_order(files, BATCH):
                with torch.inference_mode():
                    codes = tokenizer.encode(tokenizer.medium.floats(batch.images.to(pipe.device)))
                packed.append(codes.pack())
                names += [files.names[i] for i in batch.indices.tolist()]
                bar.update(len(names) + len(files.unreadable) - bar.n)
        if codes is None:
            raise ValueError(f"images: none of {len(files)} can be read: {files.unreadable_summary(at_most=3)}")
        about = {
            "format": FORMAT, "software": SOFTWARE, "pipeline": str(pipeline), "tokenizer": fingerprint(pipeline),
            "grid": json.dumps(codes.grid), "radix": json.dumps(codes.radix), "names": json.dumps(names),
        }  # fmt: skip
        save_file({"codes": torch.from_numpy(np.concatenate(packed))}, folder / out.name, about)
    tell_unreadable(files)
    size = f"{codes.bits_per_image:,.0f} bits or {packed[0].shape[1]:,} bytes"
    print(plain(f"{len(names)} {tokenizer.medium.plural}, {size} each: {out} ({out.stat().st_size:,} bytes)"))
    return out
