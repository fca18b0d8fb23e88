"""IBQ (Shi et al., 2024, arXiv 2412.02692): index backpropagation, by which every codeword of a large, wide codebook learns at each step.

We differ in sizes, in the perceptual distance, and in a prior of a laptop's size.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.ibq.recipe import ibq

SYSTEM = System(
    "ibq",
    "Scalable Image Tokenization with Index Backpropagation Quantization (Shi et al., 2024, arXiv 2412.02692)",
    "indices whose gradient passes through the whole distribution over codewords",
    {"ibq": ibq},
)
