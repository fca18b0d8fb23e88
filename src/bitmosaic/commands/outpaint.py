"""`bitmosaic outpaint`: around a picture, on a larger canvas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro

from bitmosaic.commands.arguments import Background
from bitmosaic.commands.drawing import OWN_SETTINGS, Class, Drawing, Prompt, Settings, named
from bitmosaic.commands.edited import COVER, Picture, Task, given, paint

Padding = Annotated[tuple[int, ...], tyro.conf.arg(metavar="PIXELS ...")]


def outpaint(
    image: Picture, *, padding: Padding, class_: Class = "none", prompt: Prompt = "", count: int = 4, seed: int = 0, feather: int = 0,
    settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, pipeline: str = "fashion",
    background: Background = "", out: Path = Path("outpainted"), device: str = "cpu", precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Paints around a picture, several times, and writes the answers as PNG files with one sheet.

    The canvas may be larger than the pipeline's images; it is then painted in windows of that size, from the picture outwards. The
    picture's own pixels come back exactly as they were, in the pipeline's colours. The answers are ranked: the fewer bits the model
    needs for what it painted, the likelier it holds it to be.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        padding: pixels to add: one number for all sides, or four for left, top, right and bottom.
        class_: of what the picture shows, by name or number; none for no class; a blend as bag:0.5+sandal:0.5.
        prompt: instead of a class, what the picture shows in words, where the pipeline learned from captions.
        count: answers.
        seed: of the first answer; the next ones have the next seeds.
        feather: pixels outside the picture over which the seam is levelled; 0: none.
        settings: of the sampler.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        background: what a transparent image is laid on, such as black, white or '#336699'.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the prior; auto: bf16 where the processor multiplies it, else float32.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """

    def ask(pipe, label, arguments):
        picture = given(image, background or pipe.background)
        sides = padding[0] if len(padding) == 1 else padding
        answers = pipe.outpaint(picture, sides, label, feather=feather, **arguments)
        left, top, right, bottom = padding * 4 if len(padding) == 1 else padding
        before, (height, width) = torch.full_like(answers.images[0], COVER), answers.images.shape[2:]
        inside = (slice(None), slice(top, height - bottom), slice(left, width - right))
        before[inside] = answers.images[0][inside]
        return answers, [("given", before)]

    more = {"padding": padding, "feather": feather}
    task = Task("outpaint", image, pipeline, count, seed, named(class_, prompt), settings, device, precision, more)
    return paint(task, ask, out)
