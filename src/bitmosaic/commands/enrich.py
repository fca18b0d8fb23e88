"""`bitmosaic enrich`: draws the fine detail of a picture anew."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from bitmosaic.commands.drawing import OWN_SETTINGS, Settings
from bitmosaic.commands.edited import USUAL, Painting, Picture, Task, paint
from bitmosaic.pipelines.editing import coarse


def enrich(
    image: Picture, *, shrink: int = 2, repeats: int = 4, fit: Literal["exact", "crop"] = "exact",
    painting: tyro.conf.OmitArgPrefixes[Painting] = USUAL, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    out: Path = Path("enriched"),
) -> list[Path]:  # fmt: skip
    """Draws the fine detail of a coarse picture anew, several times, and writes the answers as PNG files with one sheet.

    In four rounds every place is hidden and drawn anew once, a quarter of them at a time; this is repeated. The answers are
    ranked by code length: the fewer bits, the likelier by the model's own probabilities.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        shrink: factor by which the picture is first reduced and enlarged again; 1: it is taken as it is.
        repeats: of the four rounds; more of them keep less of the picture.
        fit: for images of another size than the pipeline's: exact refuses them; crop takes the centre and scales it.
        painting: what is painted, how often, and by what.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """

    def ask(pipe, label, arguments):
        picture = painting.picture(image, pipe)
        answers = pipe.enrich(picture, label, shrink=shrink, repeats=repeats, fit=fit, **arguments)
        names = ("given", "coarse") if shrink > 1 else ("given",)
        return answers, list(zip(names, coarse(pipe, picture, shrink, fit), strict=False))

    more = {"shrink": shrink, "repeats": repeats, "fit": fit}
    return paint(Task("enrich", image, painting, settings, more), ask, out)
