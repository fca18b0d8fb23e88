"""Data-parallel training by processes that torchrun has started.

A step's batch is cut into `Training.parts`, each with its own random draws, and processes share the parts, so the gradient depends on the
number of parts, not of processes. Gradients are averaged by torch's DistributedDataParallel during the backward pass, or by FSDP2 where
weights are sharded.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from bitmosaic.nets.precision import Precision, resolve

PATIENCE = timedelta(hours=6)  # for which processes wait while one works alone, such as on a report


def end_with_parent() -> None:
    """From now on this process of torchrun ends, as if killed, when torchrun has gone; else it would keep writing and hold its folder."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        with suppress(OSError):
            os.write(2, b"bitmosaic: torchrun is gone, so this process ends; the same command again goes on from the last checkpoint\n")
        os._exit(143)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True, name="end_with_parent").start()


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Initialises the process group of torchrun for the block; does nothing where there is one process only."""
    end_with_parent()
    alone = int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized()
    if alone:
        yield
        return
    if torch.device(device).type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    store, rank, count = next(rendezvous("env://"))
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"try {again}", store)  # addresses of processes that died stand in the same store
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def own_device() -> str:
    """The GPU of this process where there are GPUs, else the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def world_size() -> int:
    """World size: the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is rank 0, which writes files and prints."""
    return not dist.is_initialized() or dist.get_rank() == 0


def barrier() -> None:
    """A barrier over all processes."""
    if dist.is_initialized():
        dist.barrier()


def by_first(work: Callable[[], Any]) -> Any:
    """Runs `work` on rank 0 and broadcasts its result. Where it raises there, the other processes exit with its status."""
    result, error = None, None
    if is_first():
        try:
            result = work()
        except (ValueError, OSError) as found:
            error = found
    result, failed = broadcast((result, error is not None))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(2)
    return result


def share(parts: int) -> range:
    """The parts of a batch that this process takes. ValueError where they cannot be divided evenly."""
    if parts % world_size():
        raise ValueError(f"parts: {world_size()} processes cannot share {parts} parts of a batch evenly; give a multiple of {world_size()}")
    each, rank = parts // world_size(), dist.get_rank() if dist.is_initialized() else 0
    return range(rank * each, (rank + 1) * each)


def any_process(asked: bool, device: str = "cpu") -> bool:
    """Whether `asked` is True on any process (all-reduce)."""
    return asked if world_size() == 1 else bool(all_reduce(torch.tensor(float(asked), device=device)))


def broadcast(value: Any) -> Any:
    """Broadcasts a value from rank 0 to all processes."""
    box = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(box)
    return box[0]


def all_reduce(x: Tensor) -> Tensor:
    """All-reduce: the sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


class _Loss(nn.Module):
    """Wraps a player in a forward pass that returns a given loss, as DistributedDataParallel needs."""

    def __init__(self, player: nn.Module):
        super().__init__()
        self.player = player

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def shard(module: nn.Module, precision: Precision, device: str) -> None:
    """Shards a prior's weights over the processes by FSDP2, in place, block by block, with the values of rank 0.

    The other ranks may hold it on the meta device. `module.loss` still works.
    """
    whole = module.state_dict() if is_first() else {}
    module.to("meta")
    bf16 = resolve(precision, device) == "bf16"
    kinds = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if bf16 else {}
    policy = MixedPrecisionPolicy(**kinds, cast_forward_inputs=False)  # the rotary table stays float32, as everywhere
    for block in module.blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(module, mp_policy=policy)
    register_fsdp_forward_method(module, "loss")
    module.to_empty(device=device)
    set_model_state_dict(module, whole, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))


def is_sharded(module: nn.Module) -> bool:
    """Whether a module was sharded by `shard`."""
    return isinstance(module, FSDPModule)


def gathered(module: nn.Module) -> nn.Module | None:
    """A sharded module, gathered on the CPU of rank 0 and built from its spec; None on other ranks. All must call."""
    whole = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not is_first():
        return None
    with torch.random.fork_rng(devices=[]):
        made = module.spec.build()
    made.load_state_dict(whole)
    return made


class Reducer:
    """Backward passes that leave on every process the gradient of the mean loss over all parts."""

    def __init__(self, player: nn.Module, parts: int):
        self.scale, self.sharded, joint = world_size() / parts, player if is_sharded(player) else None, None
        if dist.is_initialized() and self.sharded is None:
            joint = DistributedDataParallel(_Loss(player), forward_sync_buffers=False)
        self.joint = joint

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds to the gradients of the player; `last` of this process's parts joins them with the others'."""
        quiet = self.joint is not None and not last
        if self.sharded is not None:
            self.sharded.set_requires_gradient_sync(last)
        with self.joint.no_sync() if quiet else nullcontext():
            if self.scale != 1:
                loss = loss * self.scale
            (self.joint(loss) if self.joint is not None else loss).backward()
