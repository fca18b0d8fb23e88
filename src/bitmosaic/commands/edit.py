"""`bitmosaic edit`: another class inside a mask."""

from __future__ import annotations

from pathlib import Path

import tyro

from bitmosaic.commands.arguments import Background
from bitmosaic.commands.drawing import OWN_SETTINGS, Drawing, OwnClass, Prompt, Settings, named
from bitmosaic.commands.edited import NOWHERE, Picture, Task, Where, covered, given, paint
from bitmosaic.pipelines.editing import Fit, canvas


def edit(
    image: Picture, *, class_: OwnClass = "", prompt: Prompt = "", where: tyro.conf.OmitArgPrefixes[Where] = NOWHERE, count: int = 4,
    seed: int = 0, feather: int = 0, fit: Fit = "exact", settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    pipeline: str = "fashion", background: Background = "", out: Path = Path("edited"), device: str = "cpu",
    precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Paints another class into what a mask covers, several times, and writes the answers as PNG files with one sheet.

    White in a mask is repainted. All other pixels come back exactly as they were, in the pipeline's colours; what lay under the mask
    has no influence. The answers are ranked: the fewer bits the model needs for what it painted, the likelier it holds it to be.
    What is left of the picture speaks for the class it was of: guidance is 5, or the pipeline's own where that is more, unless it or a
    sampler is given, and a mask that leaves what both classes share, such as the sole of a shoe, gives the best answers.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        class_: that shall stand inside the mask, by name or number; a blend as bag:0.5+sandal:0.5.
        prompt: instead of a class, what shall stand there in words, where the pipeline learned from captions.
        where: what is repainted: one of these three.
        count: answers.
        seed: of the first answer; the next ones have the next seeds.
        feather: pixels inside the mask over which the seam is levelled; 0: none.
        fit: for images of other sizes than the pipeline's: exact refuses them, crop takes the centre and scales it; tile, for pipelines
            that have seen parts of pictures, which the one that ships has not, works at their own size, in windows of the pipeline's.
        settings: of the sampler.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        background: what a transparent image is laid on, such as black, white or '#336699'.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the prior; auto: bf16 where the processor multiplies it, else float32.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """
    if not class_ and not prompt:
        raise ValueError("class, prompt: none is given; name what shall stand inside the mask, by --class or --prompt")
    mask = where.read()
    more = {"mask": mask, "feather": feather, "fit": fit}

    def ask(pipe, label, arguments):
        picture = given(image, background or pipe.background)
        pixels, repaint = canvas(pipe, picture, mask, fit)
        answers = pipe.edit(picture, mask, label, feather=feather, fit=fit, **arguments)
        return answers, [("given", pixels), ("repainted", covered(pixels, repaint))]

    return paint(Task("edit", image, pipeline, count, seed, named(class_, prompt), settings, device, precision, more), ask, out)
