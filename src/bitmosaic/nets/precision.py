"""Arithmetic by machine: whether it multiplies bf16, and full float32 where cuDNN would use TF32."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bf16"]


def has_bf16_products(device: str | torch.device = "cpu") -> bool:
    """Whether `device` multiplies bf16 matrices in hardware.

    A CPU without such instructions emulates them: two cores of an Intel Ice Lake reach a third of their float32 rate, two of an AMD
    Zen 5, which has them, four times theirs (docs/log.md).
    """
    if torch.device(device).type != "cpu":
        return True
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve(precision: Precision, device: str | torch.device = "cpu") -> Literal["float32", "bf16"]:
    """Resolves "auto": bf16 where `device` multiplies it in hardware, else float32; other values are returned as they are."""
    if precision == "auto":
        return "bf16" if has_bf16_products(device) else "float32"
    return precision


def autocast(precision: Precision, device: str | torch.device = "cpu") -> torch.autocast:
    """Matrix products and convolutions in `resolve(precision, device)`."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=resolve(precision, device) == "bf16")


class _Whole:
    """The number of open `whole_float32` blocks of all threads, for the setting is the process's."""

    lock, depth, before = threading.Lock(), 0, "none"


@contextmanager
def whole_float32() -> Iterator[None]:
    """A context manager, also a decorator, in which float32 convolutions use full float32 on a GPU too.

    By default cuDNN rounds their inputs to TF32: of 500 images encoded on an H100 thirty had a bit that differed from the CPU's, and none
    with this (docs/performance.md). torch's matrix products are in full float32 by default. Several threads may be inside at once.
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
