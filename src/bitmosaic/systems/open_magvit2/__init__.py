"""Open-MAGVIT2 (Luo et al., 2024, arXiv 2409.04410): lookup-free codes, in an autoencoder without attention whose decoder sees the codes.

We differ in sizes, in the perceptual distance, and in the prior, BiGR's over bits, where the paper's predicts groups of them in order.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.open_magvit2.recipe import open_magvit2

SYSTEM = System(
    "open_magvit2",
    "Open-MAGVIT2: An Open-Source Project Toward Democratizing Auto-regressive Visual Generation (Luo et al., 2024, arXiv 2409.04410)",
    "the signs of a vector as codes, with an entropy loss, and a convolutional autoencoder without attention",
    {"open-magvit2": open_magvit2},
)
