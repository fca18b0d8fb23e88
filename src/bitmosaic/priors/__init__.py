"""Distributions over Codes given a condition; importing the room enters its specs in the table."""

from bitmosaic.priors.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.heads import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPrior, MaskedPriorSpec

__all__ = ["BernoulliDiffusionSpec", "ClassConditionSpec", "MaskedPrior", "MaskedPriorSpec", "NoConditionSpec"]
