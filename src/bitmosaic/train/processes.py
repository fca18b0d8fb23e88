"""Training by several processes that torchrun has started: who does what, and how they come together.

A step's batch is cut into `Training.parts`, each with draws of its own. One process takes them one after another, several take some each,
so the sum that moves the weights hangs on the number of parts alone, not on the number of processes. Gradients are joined by torch's
DistributedDataParallel while the backward pass goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=6)  # of those that wait while one alone works, such as on a report


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Inside the block the processes of torchrun can speak with one another; nothing where there is one process only."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized()
    if alone:
        yield
        return
    dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def own_device() -> str:
    """The GPU of this process where there are GPUs, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait() -> None:
    """Until all are here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process goes through the block, then all others."""
    if not first():
        wait()
    yield
    if first():
        wait()
    wait()


def share(parts: int) -> range:
    """The parts of a batch that are this process's. ValueError where they cannot be dealt out evenly."""
    if parts % size():
        raise ValueError(f"parts: {size()} processes cannot share {parts} parts of a batch evenly; give a multiple of {size()}")
    each, rank = parts // size(), dist.get_rank() if dist.is_initialized() else 0
    return range(rank * each, (rank + 1) * each)


def agreed(asked: bool, device: str = "cpu") -> bool:
    """Whether any process asks."""
    return asked if size() == 1 else bool(summed(torch.tensor(float(asked), device=device)))


def summed(x: Tensor) -> Tensor:
    """The sum over all processes, the same on each."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


class _Loss(nn.Module):
    """A player's parameters behind a forward pass that hands a loss through: what DistributedDataParallel needs to see."""

    def __init__(self, player: nn.Module):
        super().__init__()
        self.player = player

    def forward(self, loss: Tensor) -> Tensor:
        return loss


class Reducer:
    """Backward passes whose gradients end up the mean over the losses of all parts, on every process."""

    def __init__(self, player: nn.Module, parts: int):
        self.scale = size() / parts
        self.joint = DistributedDataParallel(_Loss(player), broadcast_buffers=False) if dist.is_initialized() else None

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds to the gradients of the player; `last` of this process's parts joins them with the others'."""
        quiet = self.joint is not None and not last
        with self.joint.no_sync() if quiet else nullcontext():
            if self.scale != 1:
                loss = loss * self.scale
            (self.joint(loss) if self.joint is not None else loss).backward()
