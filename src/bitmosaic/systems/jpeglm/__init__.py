"""JPEG-LM (Han et al., 2024, arXiv 2408.08459): a language model of the bytes of JPEG files draws pictures.

We differ in bytes instead of byte pairs, in leaving the headers out, and in an optional class condition.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.jpeglm.recipe import jpeg

SYSTEM = System(
    "jpeglm",
    "JPEG-LM: LLMs as Image Generators with Canonical Codec Representations (Han et al., 2024, arXiv 2408.08459)",
    "a causal transformer over the bytes of a JPEG file, until it says that the file ends",
    {"jpeg": jpeg},
)
