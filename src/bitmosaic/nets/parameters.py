"""How many parameters networks have."""

from torch import nn


def parameters_of(*modules: nn.Module) -> int:
    """Parameters of all modules together; one that a module shares with itself counts once, one that two modules share twice."""
    return sum(p.numel() for module in modules for p in module.parameters())
