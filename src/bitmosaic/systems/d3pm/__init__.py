"""D3PM (Austin et al., NeurIPS 2021, arXiv 2107.03006): discrete denoising diffusion, here over indices of a codebook.

We differ in the network and in sizes; docs/denoising.md says what a small run measured.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.d3pm.recipe import d3pm

SYSTEM = System(
    "d3pm",
    "Structured Denoising Diffusion Models in Discrete State-Spaces (Austin et al., NeurIPS 2021, arXiv 2107.03006)",
    "a Markov chain turns codes into masks or random codes, and a transformer reverses it step by step",
    {"d3pm": d3pm},
)
