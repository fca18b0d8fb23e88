"""Media: kinds of signals (pictures, sound, clips), with reading, writing and previews."""

from .base import Medium
from .clips import Clips
from .folder import SignalFolder, SignalFolderSpec
from .pictures import PICTURES, Pictures
from .waves import Waves

__all__ = ["PICTURES", "Clips", "Medium", "Pictures", "SignalFolder", "SignalFolderSpec", "Waves"]
