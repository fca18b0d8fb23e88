"""VQ-VAE (van den Oord et al., NeurIPS 2017, arXiv 1711.00937): codes of sound and film, as in Jukebox and VideoGPT.

We differ in the prior, MaskGIT's, and in SimVQ's codebook by default; docs/media.md says what small runs measured.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.vqvae.recipe import clips, sound

SYSTEM = System(
    "vqvae",
    "Neural Discrete Representation Learning (van den Oord et al., NeurIPS 2017, arXiv 1711.00937)",
    "an autoencoder with a codebook as its bottleneck, for signals of any number of axes",
    {"sound": sound, "clips": clips},
)
