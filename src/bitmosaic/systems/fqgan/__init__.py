"""FQGAN (Bai et al., 2024, arXiv 2411.16681): several codebooks side by side, each with a branch of its own, and FAR, a prior over them.

We differ in any feature network in CLIP's and DINO's place, and in sizes.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.fqgan.recipe import fqgan

SYSTEM = System(
    "fqgan",
    "Factorized Visual Tokenization and Generation (Bai et al., 2024, arXiv 2411.16681)",
    "two or three codebooks that losses keep from saying the same, and a causal prior with a head over the codes of a place",
    {"fqgan": fqgan},
)
