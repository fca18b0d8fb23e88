"""Media: what signals are (pictures, sound, clips), how a file becomes a tensor and a tensor something to look at or to keep."""

from .base import Medium
from .clips import Clips
from .folder import SignalFolder, SignalFolderSpec
from .pictures import PICTURES, Pictures
from .waves import Waves

__all__ = ["PICTURES", "Clips", "Medium", "Pictures", "SignalFolder", "SignalFolderSpec", "Waves"]
