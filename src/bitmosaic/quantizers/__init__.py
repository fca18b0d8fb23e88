"""Vectors <-> digits, one file per scheme; importing the room enters its specs in the table."""

from bitmosaic.quantizers.base import Quantized, Quantizer
from bitmosaic.quantizers.bernoulli import BernoulliQuantizer, BernoulliQuantizerSpec

__all__ = ["BernoulliQuantizer", "BernoulliQuantizerSpec", "Quantized", "Quantizer"]
