"""Work on many images, cut into chunks that are each done on one core, over threads and over the processes of torchrun.

A chunk's result does not depend on who computes it, so figures do not depend on the number of threads or processes. One core for each
chunk is also faster than all cores for each: small networks do not keep two busy (docs/log.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def in_chunks(count: int, size: int, work: Callable[[slice], T], workers: int = 1, on_done: Callable[[int], object] = int) -> list[T]:
    """Applies `work` to slices of `size` of `count` items: all results in order on the first process, an empty list on the others.

    workers: threads of this process. on_done: called with the number of items of each chunk that this process has finished.
    """
    chunks = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    def one(chunk: slice) -> T:
        with torch.inference_mode():
            result = work(chunk)
        on_done(chunk.stop - chunk.start)
        return result

    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        ours = list(pool.map(one, chunks[rank::world]))
    if world == 1:
        return ours
    gathered: list[Any] | None = [None] * world if rank == 0 else None
    dist.gather_object(ours, gathered)
    return [gathered[i % world][i // world] for i in range(len(chunks))] if gathered else []


def everywhere(value: T) -> list[T]:
    """All-gather: the values of all processes in order of rank, the same list in each."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def alone(what: str) -> None:
    """ValueError where torchrun has started several processes, for `what` runs in one."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"{what} runs in one process; start it without torchrun")


@contextmanager
def processes() -> Iterator[bool]:
    """Joins the processes that torchrun has started, if any; yields whether this is the first, which reports and writes."""
    threads = torch.get_num_threads()
    ours = "RANK" in os.environ and not dist.is_initialized()  # torchrun sets it
    if ours:
        dist.init_process_group("gloo")
    torch.set_num_threads(1)
    try:
        yield not dist.is_initialized() or dist.get_rank() == 0
        if ours:
            dist.barrier()  # no process leaves while another still needs it
    finally:
        torch.set_num_threads(threads)
        if ours:
            dist.destroy_process_group()
