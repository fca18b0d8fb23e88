"""The arena: every quantizer of the package in one encoder and decoder, trained alike (perturbed codes as in Qiu et al., arXiv 2509.12474).

It is a comparison of our own. We differ from that paper in what a perturbed place becomes: the code of the same place in another image,
since not every scheme has neighbours in a codebook.
"""

from bitmosaic.systems.base import System

SYSTEM = System(
    "tokenizers",
    "A comparison of our own, behind which stands no published system. Perturbed codes are an idea of Image Tokenizer Needs Post-Training "
    "(Qiu et al., 2025, arXiv 2509.12474).",
    "every quantizer in one tokenizer, trained alike and measured alike",
    claimed=False,
)
