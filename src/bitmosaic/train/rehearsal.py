"""A step without its arithmetic: how much memory it would hold on a CPU or a GPU. Nothing is allocated: tensors have no values.

Parts stand on torch's meta device, where autocast does nothing, so what it does with the operations of our nets is said here; attention
is a GPU's, which keeps no matrices, or the plain products that a CPU trains with.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from bitmosaic.nets.llama import products
from bitmosaic.nets.precision import Precision, resolve

LOWER = {F.linear, F.conv2d, torch.conv2d, torch.matmul, Tensor.matmul, Tensor.__matmul__}  # in bf16 under autocast
WHOLE = {F.layer_norm, F.group_norm}  # in float32 under CUDA's autocast; a CPU's takes what comes
WIDEST = {torch.addcmul}  # in the widest type among its factors under CUDA's autocast, which copies the others, and keeps the copies


def most_bytes(
    modules: Iterable[nn.Module], forward: Callable[[], Tensor], precision: Precision, device: str, gradients: bool = False,
    frozen: nn.Module | None = None,
) -> int:  # fmt: skip
    """The most bytes that live at one time in `forward()` and its backward pass, beside weights, and their gradients unless `gradients`.

    modules: on the meta device, as is all that `forward` makes. device: whose arithmetic, "cpu" or "cuda". frozen: a network that
    `forward` asks and that is not trained. What autocast makes of weights is counted.
    """
    modules = list(modules)
    weights = [p for module in modules for p in module.parameters()]
    hooks = [p.register_post_accumulate_grad_hook(_let_go) for p in weights if not gradients]
    arithmetic, live = Arithmetic(precision, device), Live([*weights, *(frozen.state_dict().values() if frozen is not None else ())])
    for module in modules:
        module.train()
    try:
        with live:
            with arithmetic:
                end = forward().float().sum()
            arithmetic.kept = None
            with arithmetic:  # for what is worked out again
                _backward(end)
    finally:
        for hook in hooks:
            hook.remove()
        for weight in weights:
            weight.grad = None
    return live.most


def _backward(end: Tensor) -> None:
    """As `end.backward()`, but inside the function modes around it, which torch's own entry would leave."""
    ones = torch.ones_like(end)
    _engine_run_backward((end,), (ones,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _let_go(weight: Tensor) -> None:
    weight.grad = None


class Live(TorchDispatchMode):
    """Counts the bytes of storages that come and go, those of `given` tensors left out."""

    def __init__(self, given: Iterable[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self.held = {t.untyped_storage()._cdata for t in given}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.held:
            return
        self.held.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self.held.discard(key)
        self.now -= size


class Arithmetic(TorchFunctionMode):
    """autocast and attention as on `device`, for tensors on the meta device."""

    def __init__(self, precision: Precision, device: str):
        super().__init__()
        self.low, self.gpu = resolve(precision, device) == "bf16", torch.device(device).type != "cpu"
        self.kept: dict[int, Tensor] | None = {}  # weights in bf16, which autocast makes once in a forward pass

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        attends = func is F.scaled_dot_product_attention
        if self.low and (attends or func in LOWER):
            args, kwargs = tree_map(self._lower, (args, kwargs))
        elif self.low and self.gpu and (func in WHOLE or (func in WIDEST and _holds_float32((args, kwargs)))):
            args, kwargs = tree_map(_raise, (args, kwargs))
        if attends and (self.gpu or args[0].ndim == 4):  # a CPU takes nets/conv.py's as they are
            return (_fused if self.gpu else products)(*args, **kwargs)
        return func(*args, **kwargs)

    def _lower(self, x: object) -> object:
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            return x
        if not isinstance(x, nn.Parameter) or self.kept is None:
            return x.to(torch.bfloat16)
        if id(x) not in self.kept:
            self.kept[id(x)] = x.to(torch.bfloat16)
        return self.kept[id(x)]


def _raise(x: object) -> object:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


def _holds_float32(values: object) -> bool:
    return any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in tree_leaves(values))


def _fused(q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False, attn_mask: Tensor | None = None) -> Tensor:
    """Attention (..., n, d) that keeps q, k, v, its result and a number for each query, whatever is masked: torch's for CPUs, which the
    meta device knows.
    """
    lead = q.shape[:-2]
    q, k, v = (x.reshape(-1, 1, *x.shape[-2:]) if x.ndim < 4 else x for x in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, is_causal)[0]
    return out.reshape(*lead, *out.shape[-2:]) if len(lead) < 2 else out
