"""Work on many images, cut into chunks that are each done on one core, over threads and over the processes of torchrun.

A chunk's result cannot depend on who computes it, so neither do figures on the number of threads or processes. One core for each chunk is
also faster than all cores for each: small networks do not fill two (docs/log.md).
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
    """`work` of slices of `size` of `count` things, all results in order on the first process; on the others an empty list.

    workers: threads of this process. on_done: told how many things a chunk held, as those of this process end.
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
    """What each process says, the same list in all of them."""
    if not dist.is_initialized():
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def alone(what: str) -> None:
    """ValueError where torchrun has started several processes: `what` is for one."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"{what} runs in one process; start it without torchrun")


@contextmanager
def processes() -> Iterator[bool]:
    """Joins the processes that torchrun has started, if it has; yields whether this is the first, which measures and writes."""
    threads = torch.get_num_threads()
    ours = "RANK" in os.environ and not dist.is_initialized()  # torchrun sets it
    if ours:
        dist.init_process_group("gloo")
    torch.set_num_threads(1)
    try:
        yield not dist.is_initialized() or dist.get_rank() == 0
        if ours:
            dist.barrier()  # nobody leaves while another still needs it
    finally:
        torch.set_num_threads(threads)
        if ours:
            dist.destroy_process_group()
