"""How a prior is asked; importing the room enters its specs in the table."""

from bitmosaic.samplers.base import Sampler, SamplerSpec, Step
from bitmosaic.samplers.entropy_budget import EntropyBudget, EntropyBudgetSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrdered, EntropyOrderedSpec
from bitmosaic.samplers.marginals_first import MarginalsFirst, MarginalsFirstSpec

SAMPLERS: dict[str, type[SamplerSpec]] = {  # by the names that users type
    "entropy-ordered": EntropyOrderedSpec,
    "marginals-first": MarginalsFirstSpec,
    "entropy-budget": EntropyBudgetSpec,
}

__all__ = [
    "SAMPLERS",
    "EntropyBudget",
    "EntropyBudgetSpec",
    "EntropyOrdered",
    "EntropyOrderedSpec",
    "MarginalsFirst",
    "MarginalsFirstSpec",
    "Sampler",
    "SamplerSpec",
    "Step",
]
