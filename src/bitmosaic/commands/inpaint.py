"""`bitmosaic inpaint`: what a mask covers is painted anew."""

from __future__ import annotations

from pathlib import Path

import tyro

from bitmosaic.commands.arguments import Background
from bitmosaic.commands.drawing import OWN_SETTINGS, Class, Drawing, Prompt, Settings, named
from bitmosaic.commands.edited import NOWHERE, Picture, Task, Where, covered, given, paint
from bitmosaic.pipelines.editing import Fit, canvas


def inpaint(
    image: Picture, *, where: tyro.conf.OmitArgPrefixes[Where] = NOWHERE, class_: Class = "none", prompt: Prompt = "", count: int = 4,
    seed: int = 0, feather: int = 0, fit: Fit = "exact", settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    pipeline: str = "fashion", background: Background = "", out: Path = Path("inpainted"), device: str = "cpu",
    precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Paints what a mask covers anew, several times, and writes the answers as PNG files with one sheet.

    White in a mask is repainted. All other pixels come back exactly as they were, in the pipeline's colours; what lay under the mask
    has no influence. The answers are ranked: the fewer bits the model needs for what it painted, the likelier it holds it to be.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        class_: of what the picture shows, by name or number; none for no class; a blend as bag:0.5+sandal:0.5.
        prompt: instead of a class, what the picture shows in words, where the pipeline learned from captions.
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
    mask = where.read()
    more = {"mask": mask, "feather": feather, "fit": fit}

    def ask(pipe, label, arguments):
        picture = given(image, background or pipe.background)
        pixels, repaint = canvas(pipe, picture, mask, fit)
        answers = pipe.inpaint(picture, mask, label, feather=feather, fit=fit, **arguments)
        return answers, [("given", pixels), ("repainted", covered(pixels, repaint))]

    return paint(Task("inpaint", image, pipeline, count, seed, named(class_, prompt), settings, device, precision, more), ask, out)
