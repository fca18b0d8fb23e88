"""Priors, distributions over Codes given a condition, and their heads; importing the package registers their specs."""

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.autoregressive import AutoregressivePrior, AutoregressivePriorSpec
from bitmosaic.priors.base import HeadedPrior, MaskedPrior, Prior
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.categorical import CategoricalSpec
from bitmosaic.priors.causal import CausalPrior
from bitmosaic.priors.causal_digits import CausalDigits, CausalDigitsSpec
from bitmosaic.priors.chain import AbsorbingSpec, MaskAndReplaceSpec, UniformSpec
from bitmosaic.priors.d3pm import D3PM, D3PMSpec
from bitmosaic.priors.denoising import DenoisingPrior
from bitmosaic.priors.direct_bits import DirectBitsSpec
from bitmosaic.priors.far import FAR, FARSpec
from bitmosaic.priors.llamagen import LlamaGen, LlamaGenSpec
from bitmosaic.priors.masked import BiGR, MaskedPriorSpec
from bitmosaic.priors.masked_bits import MaskedBitsSpec
from bitmosaic.priors.masked_digits import MaskedDigits, MaskedDigitsSpec
from bitmosaic.priors.maskgit import MaskGIT, MaskGITSpec

__all__ = [
    "D3PM", "FAR", "AbsorbingSpec", "AutoregressivePrior", "AutoregressivePriorSpec", "BernoulliDiffusionSpec", "BiGR", "CategoricalSpec",
    "CausalDigits", "CausalDigitsSpec", "CausalPrior", "ClassConditionSpec", "D3PMSpec", "DenoisingPrior", "DirectBitsSpec", "FARSpec",
    "HeadedPrior", "LlamaGen", "LlamaGenSpec", "MaskAndReplaceSpec", "MaskGIT", "MaskGITSpec", "MaskedBitsSpec", "MaskedDigits",
    "MaskedDigitsSpec", "MaskedPrior", "MaskedPriorSpec", "NoConditionSpec", "Prior", "UniformSpec",
]
