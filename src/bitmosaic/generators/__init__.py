"""Generators: noise and a condition -> a signal in one pass, without codes, as in GANs."""

from bitmosaic.generators.base import Generator, GeneratorSpec
from bitmosaic.generators.dcgan import DCGAN, DCGANSpec

__all__ = ["DCGAN", "DCGANSpec", "Generator", "GeneratorSpec"]
