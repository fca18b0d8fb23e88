"""Which arithmetic a machine is fast in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bf16"]


def has_bf16_products(device: str | torch.device = "cpu") -> bool:
    """Whether `device` multiplies bf16 matrices in hardware.

    A CPU without such instructions emulates them: on two cores of an Intel Ice Lake at a third of float32's rate, where an AMD
    Zen 5, which has them, is four times as fast as its float32 (docs/log.md).
    """
    if torch.device(device).type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve(precision: Precision, device: str | torch.device = "cpu") -> Literal["float32", "bf16"]:
    """What "auto" means: bf16 where `device` has products of it, float32 elsewhere; the others mean themselves."""
    if precision == "auto":
        return "bf16" if has_bf16_products(device) else "float32"
    return precision


def autocast(precision: Precision, device: str | torch.device = "cpu") -> torch.autocast:
    """Matrix products and convolutions in `resolve(precision, device)`."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=resolve(precision, device) == "bf16")


class _Whole:
    """How many blocks of `whole_float32` are open, in all threads together: the setting is the process's."""

    lock, depth, before = threading.Lock(), 0, "none"


@contextmanager
def whole_float32() -> Iterator[None]:
    """Inside the block, or in the function under it, convolutions of float32 are float32's on a GPU too.

    cuDNN rounds their factors to TF32's ten bits unless told otherwise: of 500 images' codes on an H100 thirty had a bit that was not the
    CPU's, and none with this (docs/performance.md). torch's matrix products are whole as they come. Threads may be inside at once.
    """
    convolutions = torch.backends.cudnn.conv
    with _Whole.lock:
        if _Whole.depth == 0:
            _Whole.before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
        _Whole.depth += 1
    try:
        yield
    finally:
        with _Whole.lock:
            _Whole.depth -= 1
            if _Whole.depth == 0:
                convolutions.fp32_precision = _Whole.before
