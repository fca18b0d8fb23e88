"""LlamaGen (Sun et al., 2024, arXiv 2406.06525): a Llama draws indices of a codebook in raster order, guided by a class.

We differ in the codebook, SimVQ's by default, and in sizes; docs/indices.md says what a small run measured.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.llamagen.recipe import llamagen

SYSTEM = System(
    "llamagen",
    "Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (Sun et al., 2024, arXiv 2406.06525)",
    "a causal transformer over codebook indices, place by place",
    {"llamagen": llamagen},
)
