"""DCGAN (Radford et al., ICLR 2016, arXiv 1511.06434): a generator of transposed convolutions, against a convolutional discriminator.

We differ in what has made GANs stable since: `recipe.py` names it; docs/gan.md says what a run on Fashion-MNIST measured.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.dcgan.recipe import dcgan

SYSTEM = System(
    "dcgan",
    "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks "
    "(Radford et al., ICLR 2016, arXiv 1511.06434)",
    "noise and a class become a picture in one pass of transposed convolutions; no codes",
    {"dcgan": dcgan},
)
