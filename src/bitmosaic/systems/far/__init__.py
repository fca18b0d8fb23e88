"""FAR (Bai et al., 2024, arXiv 2411.16681, section 3.3): FQGAN's prior, a causal Llama with a depth head for the indices of a place.

We differ in sizes; `priors.far` says what else.
"""

from bitmosaic.systems.base import System

SYSTEM = System(
    "far",
    "Factorized Visual Tokenization and Generation (Bai et al., 2024, arXiv 2411.16681)",
    "a causal transformer that draws the indices of a place one after another, by a depth head",
)
