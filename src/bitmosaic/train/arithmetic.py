"""Emulates a device's autocast and fused attention on tensors of the meta device, for planning.

No operator but attention is known by name: torch itself is asked what its autocast does with each, which does not need the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

META, CPU = torch.device("meta"), torch.device("cpu")  # tensors on the meta device have no values


def is_meta(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_meta


class Arithmetic(TorchFunctionMode):
    """Function mode that applies a device's autocast and attention to meta tensors, on a machine that may not have the device."""

    def __init__(self, device: str, low: bool, kept: dict[int, Tensor] | None = None):
        super().__init__()
        self.device, self.low, self.kept = device, low, kept  # weights in bf16, which autocast makes once in a forward pass

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if self.device == "cpu" and func == Tensor.device.__get__ and not sys._getframe(1).f_globals["__name__"].startswith("torch."):
            return CPU  # networks ask for what they do there; torch itself, which compares what was worked out again, hears the truth
        given, tree = tree_flatten((args, kwargs or {}))
        if any(map(is_meta, given)):
            given = [META if isinstance(x, torch.device) else x for x in given]
        fused = func is F.scaled_dot_product_attention and is_meta(given[0])
        if self.low:
            wanted = casts(func, given, tree, self.device)
            if fused:  # without a GPU it is tried in steps, some of which go back to float32
                wanted = [dtype if dtype == torch.bfloat16 else None for dtype in wanted]
            given = [x if dtype is None else self._cast(x, dtype) for x, dtype in zip(given, wanted, strict=True)]
        args, kwargs = tree_unflatten(given, tree)
        return (_fused if fused else func)(*args, **kwargs)

    def _cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        if self.kept is None or not isinstance(x, nn.Parameter):
            return x.to(dtype)
        if id(x) not in self.kept:
            self.kept[id(x)] = x.to(dtype)
        return self.kept[id(x)]


CASTS: dict[Any, list[torch.dtype | None]] = {}  # by function, types and device


def casts(func: Callable[..., Any], given: list[Any], tree: TreeSpec, device: str) -> list[torch.dtype | None]:
    """The types to which a device's autocast takes each of a function's arguments, None where it leaves one.

    torch is asked: the function is tried under that autocast, on tensors of a device that need not be there, without values or gradients.
    What cannot be tried so, such as a backward pass, casts nothing itself.
    """
    if func.__name__ == "__get__" or not any(isinstance(x, Tensor) and x.is_floating_point() for x in given):
        return [None] * len(given)
    key = func, device, len(given), tuple((i, x.dtype) for i, x in enumerate(given) if isinstance(x, Tensor))
    if key not in CASTS:
        with _disable_current_modes(), torch.no_grad(), FakeTensorMode() as mode, _autocast_to_bf16(device), Casts() as found:
            tried = [_standing_on(device, mode, x) if isinstance(x, Tensor) else x for x in given]
            args, kwargs = tree_unflatten(tried, tree)
            with suppress(RuntimeError):
                func(*args, **kwargs)
        CASTS[key] = [found.to.get(id(x)) for x in tried]
    return CASTS[key]


class Casts(TorchDispatchMode):
    """Notes which tensors are taken to another type, and to which."""

    def __init__(self):
        super().__init__()
        self.to: dict[int, torch.dtype] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.to[id(args[0])] = kwargs["dtype"]
        return func(*args, **(kwargs or {}))


def _standing_on(device: str, mode: FakeTensorMode, x: Tensor) -> FakeTensor:
    return FakeTensor(mode, torch.empty(x.shape, dtype=x.dtype, device=META), torch.device(device))


@contextmanager
def _autocast_to_bf16(device: str) -> Iterator[None]:
    """torch.autocast would switch itself off where there is no such device."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])


def _fused(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, **scale: float) -> Tensor:
    """Attention (..., n, d) that keeps q, k, v, its result and a number for each query, whatever is masked: a GPU's, which torch chooses
    where there is one."""
    lead = q.shape[:-2]
    q, k, v = (x.reshape(-1, 1, *x.shape[-2:]) if x.ndim < 4 else x for x in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, is_causal, **scale)[0]
    return out.reshape(*lead, *out.shape[-2:]) if len(lead) < 2 else out
