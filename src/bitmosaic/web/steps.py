"""Events of a stream, one for each sampling step: the pictures so far, their place on the canvas, and the progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.pipelines.editing import windows
from bitmosaic.samplers import Step
from bitmosaic.web.guest import Guest
from bitmosaic.web.pictures import as_text, encoded

Emit = Callable[[str, dict[str, Any]], None]  # the name of an event, and its data


def grid_of(guest: Guest) -> list[int] | None:
    """Places of a picture; None for a pipeline without codes, which draws in a single step."""
    return list(guest.grid) if isinstance(guest, TwoStagePipeline) else None


def told_steps(
    guest: Guest, entropy: bool, emit: Emit | None, conditions: list, repaint: Tensor | None = None, passes: int = 1
) -> Callable[[Step], None] | None:
    """A callback for each sampling step, which emits its event; None where nothing is streamed (`emit` is None).

    entropy: whether events have the prior's entropy at each hidden place, in bits. repaint: mask (H, W), bool, of a canvas that is
    painted in windows. passes: over the whole image, where there are several.
    """
    if emit is None:
        return None
    window, before = 0, None
    height, width = size = guest.image_size
    boxes = [(0, 0, width, height)] * passes
    if repaint is not None and all(side >= own for side, own in zip(repaint.shape, size, strict=True)):
        height, width = repaint.shape
        boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in windows(repaint, size)]
    emit("begin", {"grid": grid_of(guest), "size": [width, height], "count": len(conditions)})

    def tell(step: Step) -> None:
        nonlocal window, before
        window += step.index == 1
        doubt = None
        if entropy and guest.family != "causal":
            denoised = guest.prior.family == "denoising"  # its steps carry the entropy of each draw already
            found = step.entropy.cpu() if denoised else guest.entropy(step.codes, step.known, conditions)
            doubt = [[round(x, 3) for x in row] for row in found.flatten(1).tolist()]
        same = before is not None and step.index > 1
        new = step.known & ~(before.known & (before.codes.digits == step.codes.digits).all(-1)) if same else step.known
        before = step
        known, changed = (["".join("1" if x else "0" for x in row) for row in some.flatten(1).tolist()] for some in (step.known, new))
        images = [as_text(encoded(image)) for image in guest.decode(step.codes, "pt")]
        at = {"index": step.index, "total": step.total, "window": window, "windows": len(boxes), "box": boxes[window - 1]}
        emit("step", {**at, "known": known, "changed": changed, "entropy": doubt, "images": images})

    return tell
