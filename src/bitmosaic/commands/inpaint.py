"""`bitmosaic inpaint`: repaints what a mask covers, and `bitmosaic edit`: as another class."""

from __future__ import annotations

from pathlib import Path

import tyro

from bitmosaic.commands.drawing import OWN_SETTINGS, Settings
from bitmosaic.commands.edited import NOWHERE, USUAL, Painting, Picture, Region, Task, covered, paint
from bitmosaic.pipelines import CodesPipeline
from bitmosaic.pipelines.editing import Fit, canvas


def inpaint(
    image: Picture, *, where: tyro.conf.OmitArgPrefixes[Region] = NOWHERE, feather: int = 0, fit: Fit = "exact",
    painting: tyro.conf.OmitArgPrefixes[Painting] = USUAL, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    out: Path = Path("inpainted"),
) -> list[Path]:  # fmt: skip
    """Paints the pixels under a mask anew, several times, and writes the answers as PNG files with one sheet.

    White in a mask is repainted. All other pixels stay exactly as they were, in the pipeline's colours; what lay under the mask
    has no influence. The answers are ranked by code length: the fewer bits, the likelier by the model's own probabilities.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        where: what is repainted: one of these three.
        feather: pixels inside the mask over which the step at the seam fades out; 0: none.
        fit: for images of another size than the pipeline's: exact refuses them; crop takes the centre and scales it; tile, for
            pipelines trained on parts of pictures, which fashion is not, works at the image's own size, in windows.
        painting: what is painted, how often, and by what.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """
    return masked("inpaint", image, where, feather, fit, painting, settings, out)


def edit(
    image: Picture, *, where: tyro.conf.OmitArgPrefixes[Region] = NOWHERE, feather: int = 0, fit: Fit = "exact",
    painting: tyro.conf.OmitArgPrefixes[Painting] = USUAL, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    out: Path = Path("edited"),
) -> list[Path]:  # fmt: skip
    """Paints another class under a mask, several times, and writes the answers as PNG files with one sheet.

    White in a mask is repainted. All other pixels stay exactly as they were, in the pipeline's colours; what lay under the mask
    has no influence. The answers are ranked by code length: the fewer bits, the likelier by the model's own probabilities.
    The rest of the picture favours its old class, so guidance is 5, or the pipeline's own where that is more, unless it or a sampler is
    given. A mask that leaves what both classes share, such as the sole of a shoe, gives the best answers.

    Args:
        image: a picture, or a test image that ships, such as fashion:17.
        where: what is repainted: one of these three.
        feather: pixels inside the mask over which the step at the seam fades out; 0: none.
        fit: for images of another size than the pipeline's: exact refuses them; crop takes the centre and scales it; tile, for
            pipelines trained on parts of pictures, which fashion is not, works at the image's own size, in windows.
        painting: what is painted, how often, and by what.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.

    Returns:
        The files written: the answers, the likeliest first, and sheet.png.
    """
    if not painting.class_ and not painting.prompt:
        raise ValueError("class, prompt: got neither; name what to paint inside the mask, by --class or --prompt")
    return masked("edit", image, where, feather, fit, painting, settings, out)


def masked(
    name: str, image: str, where: Region, feather: int, fit: Fit, painting: Painting, settings: Settings, out: Path
) -> list[Path]:
    """Runs inpaint or edit."""
    mask, method = where.read(), {"inpaint": CodesPipeline.inpaint, "edit": CodesPipeline.edit}[name]

    def ask(pipe, label, arguments):
        picture = painting.picture(image, pipe)
        pixels, repaint = canvas(pipe, picture, mask, fit)
        answers = method(pipe, picture, mask, label, feather=feather, fit=fit, **arguments)
        return answers, [("given", pixels), ("repainted", covered(pixels, repaint))]

    return paint(Task(name, image, painting, settings, {"mask": mask, "feather": feather, "fit": fit}), ask, out)
