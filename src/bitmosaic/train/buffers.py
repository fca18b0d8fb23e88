"""Buffers that forward passes change, such as running means, over the parts of a batch and over moves that are left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bitmosaic.train.processes import all_reduce


class Buffers:
    """The buffers of modules: each part of a batch begins a step from the same, and their mean is kept."""

    def __init__(self, modules: dict[str, nn.Module], parts: int, mine: range):
        self.buffers = [buffer for module in modules.values() for buffer in module.buffers()]
        self.parts, self.before = parts, [b.clone() for b in self.buffers]
        self.after = [self.before] * len(mine)  # of each part

    @contextmanager
    def of(self, i: int) -> Iterator[None]:
        """The buffers of a part, and what the block makes of them."""
        if self.parts == 1 or not self.buffers:
            yield
            return
        self._put(self.after[i])
        yield
        self.after[i] = [b.clone() for b in self.buffers]

    def finite(self) -> list[Tensor]:
        """Whether each is, on this process; still on its device."""
        held = [self.buffers] if self.parts == 1 else self.after
        return [b.isfinite().all() for part in held for b in part]

    def settle(self, spoilt: bool) -> None:
        """Ends a step: what was before it where a move was left out, else the mean over parts."""
        if spoilt:
            self._put(self.before)
        elif self.parts > 1:
            for buffer, *each in zip(self.buffers, *self.after, strict=True):
                total = all_reduce(torch.stack(each).sum(0))
                buffer.copy_(total / self.parts if buffer.is_floating_point() else total // self.parts)

    def _put(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer.copy_(value)
