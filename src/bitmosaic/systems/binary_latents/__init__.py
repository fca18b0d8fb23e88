"""Binary latents (Wang et al., CVPR 2023, arXiv 2304.04820): a Bernoulli autoencoder whose places hold bits, not the index of a codeword.

We differ in sizes; the prior over such bits is BiGR's (system `bigr`), not the paper's Bernoulli diffusion over all places at once.
"""

from bitmosaic.systems.base import System

SYSTEM = System(
    "binary_latents",
    "Binary Latent Diffusion (Wang et al., CVPR 2023, arXiv 2304.04820)",
    "an autoencoder whose places hold bits drawn from Bernoulli distributions",
)
