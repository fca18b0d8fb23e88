"""Buffers that forward passes change, such as running means, over the parts of a batch and over moves that are left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bitmosaic.train.processes import all_reduce


class Buffers:
    """The buffers of modules: each part of a batch begins a step from the same, and their mean is kept.

    The mean of codewords that parts have restarted at different vectors would be none of these: there the first part that did so decides.
    Such a module says which `rows` of its buffers belong to a codeword, which codewords have `moved`, and counts `restarts`.
    """

    def __init__(self, modules: dict[str, nn.Module], parts: int, mine: range):
        self.buffers = [buffer for module in modules.values() for buffer in module.buffers()]
        self.parts, self.mine, self.before = parts, mine, [b.clone() for b in self.buffers]
        self.after = [self.before] * len(mine)  # of each part
        self.restarting = [part for module in modules.values() for part in module.modules() if hasattr(part, "moved")]
        self.moved: list[list[Tensor | None]] = [[None] * len(self.restarting)] * len(mine)  # of each part

    @contextmanager
    def of(self, i: int) -> Iterator[None]:
        """The buffers of a part, and what the block makes of them."""
        if self.parts == 1 or not self.buffers:
            yield
            return
        self._put(self.after[i])
        yield
        self.after[i] = [b.clone() for b in self.buffers]
        self.moved[i] = [module.moved for module in self.restarting]

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
            for module, *moved in zip(self.restarting, *self.moved, strict=True):
                self._agree(module, moved)

    def _agree(self, module: nn.Module, moved: list[Tensor | None]) -> None:
        """Gives each codeword that parts have moved the rows of the first of these parts; `moved` is of this process's parts."""
        at = {name: next(i for i, b in enumerate(self.buffers) if b is getattr(module, name)) for name in (*module.rows, "restarts")}
        every = torch.zeros(self.parts, len(getattr(module, module.rows[0])), device=self.buffers[at["restarts"]].device)
        for part, mask in zip(self.mine, moved, strict=True):
            if mask is not None:
                every[part] = mask.to(every.dtype)
        every = all_reduce(every)
        anywhere, first = every.any(0), every.argmax(0)
        for name in module.rows:
            buffer, value = self.buffers[at[name]], torch.zeros_like(self.buffers[at[name]])
            for part, after in zip(self.mine, self.after, strict=True):
                chosen = (anywhere & (first == part)).view(-1, *[1] * (buffer.ndim - 1))
                value += torch.where(chosen, after[at[name]], 0)
            value = all_reduce(value)
            buffer.copy_(torch.where(anywhere.view(-1, *[1] * (buffer.ndim - 1)), value, buffer))
        self.buffers[at["restarts"]].copy_(self.before[at["restarts"]] + anywhere.sum())

    def _put(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.buffers, values, strict=True):
            buffer.copy_(value)
