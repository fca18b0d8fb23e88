"""`bitmosaic bits`: what each bit of a code means."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from bitmosaic.commands.arguments import Background, OwnPipeline
from bitmosaic.commands.edited import Picture, given
from bitmosaic.commands.files import SOFTWARE, file_name, written_into
from bitmosaic.commands.pipelines import DEFAULT, load, pipeline_for
from bitmosaic.commands.reconstruct import shipped
from bitmosaic.evaluate.insight import flipped, meaning
from bitmosaic.images import Fit, captioned, fitted, heat, save
from bitmosaic.names import plain
from bitmosaic.pipelines import TwoStagePipeline

COLUMNS = 8
PICTURED = 112  # pixels that a small picture is at least high


def bits(
    image: Picture = f"{DEFAULT}:0", *, count: int = 500, fit: Fit = "exact", background: Background = "", pipeline: OwnPipeline = "",
    out: Path = Path("bits"), device: str = "cpu",
) -> list[Path]:  # fmt: skip
    """Shows what each bit means: a picture with that bit inverted in every place, and the mean effect of the bit in the middle place.

    Writes NAME-bits.png: the picture, its reconstruction, and the picture with each bit inverted; and meaning.png: for each bit of the
    middle place the mean difference between decoding it as 1 and as 0, over the first bundled test images (red: 1 is brighter, blue:
    darker; each map is scaled to its largest difference, which is written below it in grey levels of 255).

    Args:
        image: a picture, or a bundled test image, such as fashion:17.
        count: test images that the mean is taken over.
        fit: for an image of another size than the pipeline's, or in colour for a grey pipeline: exact refuses it; crop takes the
            centre, scales it, and converts it to grey.
        background: colour behind a transparent image, such as black, white or '#336699'.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.

    Returns:
        The two files.
    """
    pipe = load(pipeline_for(pipeline, image), device, TwoStagePipeline)
    size, channels = pipe.image_size, pipe.channels
    one = fitted(given(image, background or pipe.background), size, channels, fit)[None].float() / 255
    many = shipped(count, size, channels).pixels.float() / 255
    stem = file_name(Path(image).stem if Path(image).exists() else image)
    files = [f"{stem}-bits.png", "meaning.png"]
    with written_into(out, files) as folder:
        scale, turned, means = max(1, PICTURED // size[0]), [], []
        for bit in tqdm(range(len(pipe.prior.radix)), "bits", unit="bit", disable=None, dynamic_ncols=True, leave=False):
            turned.append(flipped(pipe, one, bit)[0])
            means.append(meaning(pipe, many, bit).mean(0))
        most = [float(m.abs().max()) for m in means]
        maps = torch.stack([heat(0.5 + m / (2 * max(top, 1e-9)), None, "RdBu_r") for m, top in zip(means, most, strict=True)])
        names = ["given", "decoded", *(f"bit {bit}" for bit in range(len(turned)))]
        shown = torch.stack([one[0], pipe.decode(pipe.encode(one), "pt")[0], *turned])
        about = {"Software": SOFTWARE, "Command": "bits", "Pipeline": pipeline}
        save(captioned(shown, names, COLUMNS, scale), folder / files[0], **about, Image=image)
        captions = [f"bit {bit}: {255 * top:.0f}" for bit, top in enumerate(most)]
        save(captioned(maps, captions, COLUMNS, scale), folder / files[1], **about, Count=count)
    print("\n".join(plain(Path(out) / name) for name in files))
    return [Path(out) / name for name in files]
