"""Codes to bytes and back: a small container, and coders that say how likely each bit is."""

from bitmosaic.codec.base import Ask, CodecError, Coder
from bitmosaic.codec.coding import compress, decompress
from bitmosaic.codec.container import Container
from bitmosaic.codec.prior import PriorCoder
from bitmosaic.codec.static import StaticCoder
from bitmosaic.codec.uniform import UniformCoder

CODERS = {"uniform": UniformCoder, "static": StaticCoder, "prior": PriorCoder}

__all__ = [
    "CODERS", "Ask", "CodecError", "Coder", "Container", "PriorCoder", "StaticCoder", "UniformCoder", "compress", "decompress",
]  # fmt: skip
