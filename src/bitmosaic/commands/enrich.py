"""`bitmosaic enrich`: fine detail drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from bitmosaic.commands.arguments import Background
from bitmosaic.commands.drawing import OWN_SETTINGS, Class, Drawing, Prompt, Settings, named
from bitmosaic.commands.edited import Picture, Task, given, paint
from bitmosaic.pipelines.editing import coarse


def enrich(
    image: Picture, *, class_: Class = "none", prompt: Prompt = "", shrink: int = 2, repeats: int = 4, count: int = 4, seed: int = 0,
    fit: Literal["exact", "crop"] = "exact", settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, pipeline: str = "fashion",
    background: Background = "", out: Path = Path("enriched"), device: str = "cpu", precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Draws the fine detail of a coarse picture anew, several times, and writes the answers as PNG files with one sheet.

    Every place is hidden and drawn anew once in four rounds, a quarter of them at a time, and that several times over. The answers are
    ranked: the fewer bits the model needs for them, the likelier it holds them to be.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        class_: of what the picture shows, by name or number; none for no class; a blend as bag:0.5+sandal:0.5.
        prompt: instead of a class, what the picture shows in words, where the pipeline learned from captions.
        shrink: how many times smaller the picture is made before, and enlarged back; 1: it is taken as it is.
        repeats: of the four rounds; more leaves less of the picture.
        count: answers.
        seed: of the first answer; the next ones have the next seeds.
        fit: for images of other sizes than the pipeline's: exact refuses them, crop takes the centre and scales it.
        settings: of the sampler.
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        background: what a transparent image is laid on, such as black, white or '#336699'.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the prior; auto: bf16 where the processor multiplies it, else float32.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """
    more = {"shrink": shrink, "repeats": repeats, "fit": fit}

    def ask(pipe, label, arguments):
        picture = given(image, background or pipe.background)
        answers = pipe.enrich(picture, label, shrink=shrink, repeats=repeats, fit=fit, **arguments)
        names = ("given", "coarse") if shrink > 1 else ("given",)
        return answers, list(zip(names, coarse(pipe, picture, shrink, fit), strict=False))

    return paint(Task("enrich", image, pipeline, count, seed, named(class_, prompt), settings, device, precision, more), ask, out)
