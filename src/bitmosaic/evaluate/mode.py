"""Puts a network into evaluation mode for a block, and back after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def measuring(net: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without gradients; afterwards each module has its own mode again. Yields the network's device."""
    training = [module for module in net.modules() if module.training]
    at = next(net.parameters(), next(net.buffers(), torch.zeros(())))
    try:
        for module in training:
            module.training = False  # not eval(), which exported networks refuse
        with torch.inference_mode():
            yield at.device
    finally:
        for module in training:
            module.training = True
