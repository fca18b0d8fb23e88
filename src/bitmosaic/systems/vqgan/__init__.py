"""VQGAN (Esser et al., CVPR 2021, arXiv 2012.09841): an autoencoder with a codebook, a perceptual loss and a PatchGAN.

We differ in the perceptual distance, over a classifier of the images at hand instead of VGG with human judgements, and in sizes.
"""

from bitmosaic.systems.base import System

SYSTEM = System(
    "vqgan",
    "Taming Transformers for High-Resolution Image Synthesis (Esser et al., CVPR 2021, arXiv 2012.09841)",
    "pictures as indices of a codebook, trained to look right rather than to be near pixel by pixel",
)
