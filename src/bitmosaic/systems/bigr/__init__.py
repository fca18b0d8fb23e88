"""BiGR (Hao et al., ICLR 2025, arXiv 2410.14672): binary codes, a masked Llama over them, a Bernoulli-diffusion head, places by entropy.

The equations are the published ones. We differ in sizes where none were published, which recipes name.
"""

from bitmosaic.systems.base import System
from bitmosaic.systems.bigr.fashion import fashion
from bitmosaic.systems.bigr.folder import folder
from bitmosaic.systems.bigr.landscapes import landscapes
from bitmosaic.systems.bigr.published import bigr_l, bigr_l_512, bigr_xl, bigr_xxl

SYSTEM = System(
    "bigr",
    "BiGR: Harnessing Binary Latent Codes for Image Generation and Improved Visual Representation Capabilities (Hao et al., ICLR 2025, "
    "arXiv 2410.14672)",
    "binary codes that a masked transformer fills in, place by place in order of entropy",
    {
        "landscapes": landscapes, "fashion": fashion, "folder": folder, "bigr-l": bigr_l, "bigr-xl": bigr_xl, "bigr-xxl": bigr_xxl,
        "bigr-l-512": bigr_l_512,
    },
)  # fmt: skip
