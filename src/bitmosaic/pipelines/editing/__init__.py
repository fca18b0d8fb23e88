"""Jobs without retraining: inpaint, outpaint, edit, interpolate, enrich; methods of Pipeline."""

from .blends import blend, way
from .canvas import Fit, canvas
from .jobs import Answers, coarse, edit, edit_settings, enrich, inpaint, interpolate, outpaint
from .windows import windows

__all__ = [
    "Answers",
    "Fit",
    "blend",
    "canvas",
    "coarse",
    "edit",
    "edit_settings",
    "enrich",
    "inpaint",
    "interpolate",
    "outpaint",
    "way",
    "windows",
]
