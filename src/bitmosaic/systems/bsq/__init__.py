"""BSQ (Zhao et al., ICLR 2025, arXiv 2406.07548): binary spherical quantization, the signs of a unit vector as the code of a place.

We differ in the networks, VQGAN's convolutions for a transformer over patches, and in a prior of BiGR's kind.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.bsq.recipe import bsq

SYSTEM = System(
    "bsq",
    "Image and Video Tokenization with Binary Spherical Quantization (Zhao et al., ICLR 2025, arXiv 2406.07548)",
    "the signs of a unit vector as codes, whose entropy has a closed form",
    {"bsq": bsq},
)
