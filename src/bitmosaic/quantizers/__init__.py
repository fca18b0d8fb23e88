"""Quantizers: vectors <-> digits, one file per scheme; importing the package registers their specs."""

from bitmosaic.quantizers.base import Quantized, Quantizer, QuantizerSpec
from bitmosaic.quantizers.bernoulli import BernoulliQuantizer, BernoulliQuantizerSpec
from bitmosaic.quantizers.cosine import Cosine, CosineSpec
from bitmosaic.quantizers.finite_scalar import FSQ, IFSQ, FSQSpec, IFSQSpec
from bitmosaic.quantizers.frozen_features import FrozenFeatures, FrozenFeaturesSpec
from bitmosaic.quantizers.gumbel import Gumbel, GumbelSpec
from bitmosaic.quantizers.index_propagation import IBQ, IBQSpec
from bitmosaic.quantizers.lookup_free import LFQ, LFQSpec
from bitmosaic.quantizers.nearest import Nearest, NearestSpec
from bitmosaic.quantizers.nearest_ema import NearestEMA, NearestEMASpec
from bitmosaic.quantizers.product import Factorized, FactorizedSpec, Product, ProductSpec, Residual, ResidualSpec
from bitmosaic.quantizers.simvq import SimVQ, SimVQSpec
from bitmosaic.quantizers.spherical import BSQ, BSQSpec

__all__ = [
    "BSQ", "BSQSpec", "BernoulliQuantizer", "BernoulliQuantizerSpec", "Cosine", "CosineSpec", "FSQ", "FSQSpec", "Factorized",
    "FactorizedSpec", "FrozenFeatures", "FrozenFeaturesSpec", "Gumbel", "GumbelSpec", "IBQ", "IBQSpec", "IFSQ", "IFSQSpec", "LFQ",
    "LFQSpec", "Nearest", "NearestEMA", "NearestEMASpec", "NearestSpec", "Product", "ProductSpec", "Quantized", "Quantizer",
    "QuantizerSpec", "Residual", "ResidualSpec", "SimVQ", "SimVQSpec",
]  # fmt: skip
