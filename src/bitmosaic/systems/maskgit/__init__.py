"""MaskGIT (Chang et al., CVPR 2022, arXiv 2202.04200): predicts masked indices of a codebook, the most confident first.

We differ in the codebook, SimVQ's by default, and in sizes; docs/indices.md says what a small run measured.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.maskgit.recipe import maskgit

SYSTEM = System(
    "maskgit",
    "MaskGIT: Masked Generative Image Transformer (Chang et al., CVPR 2022, arXiv 2202.04200)",
    "a bidirectional transformer that fills in a grid of codebook indices in a few rounds",
    {"maskgit": maskgit},
)
