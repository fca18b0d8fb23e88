"""Codes to bytes and back: a small container, and coders that say how likely each bit is."""

from bitmosaic.codec.base import ONE, Ask, CodecError, Coder
from bitmosaic.codec.coding import compress, decompress
from bitmosaic.codec.container import Container
from bitmosaic.codec.fitted import SCALE_IMAGES, load_fitted, save_fitted
from bitmosaic.codec.prior import PriorCoder
from bitmosaic.codec.static import StaticCoder
from bitmosaic.codec.uniform import UniformCoder

CODERS = {"uniform": UniformCoder, "static": StaticCoder, "prior": PriorCoder}

__all__ = [
    "CODERS", "ONE", "SCALE_IMAGES", "Ask", "CodecError", "Coder", "Container", "PriorCoder", "StaticCoder", "UniformCoder", "compress",
    "decompress", "load_fitted", "save_fitted",
]  # fmt: skip
