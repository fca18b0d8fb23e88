"""SimVQ (Zhu et al., ICCV 2025, arXiv 2411.02038): a frozen random codebook behind a trained linear layer, so that no codeword dies.

We differ in decoding indices with the projection, which the published program leaves out, and in the sizes of the networks around it.
"""

from bitmosaic.systems.base import System

SYSTEM = System(
    "simvq",
    "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer (Zhu et al., ICCV 2025, arXiv 2411.02038)",
    "a codebook of which every codeword moves at each step",
)
