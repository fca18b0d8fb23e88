"""Quantizers: vectors <-> digits, one file per scheme; importing the package registers their specs."""

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec
from bitmosaic.quantizers.bernoulli import BernoulliQuantizer, BernoulliQuantizerSpec
from bitmosaic.quantizers.nearest import Nearest, NearestSpec
from bitmosaic.quantizers.simvq import SimVQ, SimVQSpec

__all__ = [
    "BernoulliQuantizer", "BernoulliQuantizerSpec", "Nearest", "NearestSpec", "Quantized", "Quantizer", "QuantizerSpec",
    "SimVQ", "SimVQSpec",
]  # fmt: skip
