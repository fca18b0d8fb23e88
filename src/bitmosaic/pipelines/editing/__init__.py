"""Editing without retraining: inpaint, outpaint, panorama, edit, interpolate, enrich; also methods of CodesPipeline."""

from .answers import Answers
from .blends import blend, way
from .canvas import Fit, canvas
from .jobs import coarse, edit, edit_settings, enrich, inpaint, interpolate, outpaint
from .panorama import panorama
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
    "panorama",
    "way",
    "windows",
]
