"""How a prior is asked; importing the room enters its specs in the table."""

from bitmosaic.samplers.base import Sampler, SamplerSpec, Step
from bitmosaic.samplers.entropy_ordered import EntropyOrdered, EntropyOrderedSpec

__all__ = ["EntropyOrdered", "EntropyOrderedSpec", "Sampler", "SamplerSpec", "Step"]
