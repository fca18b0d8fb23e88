"""`bitmosaic panorama`: pictures several times as large as a pipeline's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from bitmosaic.commands.drawing import OWN_SETTINGS, Settings
from bitmosaic.commands.edited import USUAL, Painting, Task, paint

OwnSide = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Middle = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE", help_behavior_hint="(default: none, all is drawn)")]


def panorama(
    image: Middle = "", *, height: OwnSide = None, width: OwnSide = None, fit: Literal["exact", "crop"] = "exact",
    painting: tyro.conf.OmitArgPrefixes[Painting] = USUAL, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    out: Path = Path("panorama"),
) -> list[Path]:  # fmt: skip
    """Draws pictures larger than the pipeline's own, from nothing or around a picture, and writes them as PNG files with one sheet.

    Codes are sampled window by window and decoded all at once, so there is no edge between windows. A picture in the middle is
    reconstructed from its codes; outpaint keeps it pixel for pixel. The answers are ranked by code length: the fewer bits, the
    likelier by the model's own probabilities.

    Args:
        image: a picture for the middle, or a bundled test image, such as landscapes:17.
        height: of the whole in pixels, a multiple of a place's; the pipeline's own unless given.
        width: likewise; four times the pipeline's own unless given.
        fit: for an image of another size than the pipeline's: exact refuses it; crop takes the centre and scales it.
        painting: what is painted, how often, and by what.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """

    def ask(pipe, label, arguments):
        size = pipe.image_size[0] if height is None else height, 4 * pipe.image_size[1] if width is None else width
        given = painting.picture(image, pipe) if image else None
        return pipe.panorama(label, size=size, image=given, fit=fit, **arguments), []

    return paint(Task("panorama", image or "panorama", painting, settings, {"height": height, "width": width, "fit": fit}), ask, out)
