"""VQGAN-LC (Zhu et al., 2024, arXiv 2406.11837): a large codebook of frozen features behind a trained projector, nearly all in use.

We differ in any feature network in CLIP's place, and in sizes; without a feature network the frozen features are random.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.vqgan_lc.recipe import vqgan_lc

SYSTEM = System(
    "vqgan_lc",
    "Scaling the Codebook Size of VQGAN to 100,000 with a Utilization Rate of 99% (Zhu et al., 2024, arXiv 2406.11837)",
    "a codebook of frozen features that a trained projector keeps in use, however large",
    {"vqgan-lc": vqgan_lc},
)
