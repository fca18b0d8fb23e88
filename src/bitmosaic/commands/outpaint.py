"""`bitmosaic outpaint`: extends a picture beyond its edges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import tyro

from bitmosaic.commands.drawing import OWN_SETTINGS, Settings
from bitmosaic.commands.edited import COVER, USUAL, Painting, Picture, Task, paint

Padding = Annotated[tuple[int, ...], tyro.conf.arg(metavar="PIXELS ...")]


def outpaint(
    image: Picture, *, padding: Padding, feather: int = 0, painting: tyro.conf.OmitArgPrefixes[Painting] = USUAL,
    settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, out: Path = Path("outpainted"),
) -> list[Path]:  # fmt: skip
    """Paints around a picture, several times, and writes the answers as PNG files with one sheet.

    The canvas may be larger than the pipeline's images; it is then painted in windows of that size, from the picture outwards. The
    picture's own pixels stay exactly as they were, in the pipeline's colours. The answers are ranked by code length: the fewer
    bits, the likelier by the model's own probabilities.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        padding: pixels to add: one number for all sides, or four for left, top, right and bottom.
        feather: pixels outside the picture over which the step at the seam fades out; 0: none.
        painting: what is painted, how often, and by what.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """

    def ask(pipe, label, arguments):
        picture = painting.picture(image, pipe)
        sides = padding[0] if len(padding) == 1 else padding
        answers = pipe.outpaint(picture, sides, label, feather=feather, **arguments)
        left, top, right, bottom = padding * 4 if len(padding) == 1 else padding
        before, (height, width) = torch.full_like(answers.images[0], COVER), answers.images.shape[2:]
        inside = (slice(None), slice(top, height - bottom), slice(left, width - right))
        before[inside] = answers.images[0][inside]
        return answers, [("given", before)]

    return paint(Task("outpaint", image, painting, settings, {"padding": padding, "feather": feather}), ask, out)
