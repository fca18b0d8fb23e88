"""Deterministic algorithms on a GPU, so that a run which was stopped ends bitwise as one that was not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_order(device: torch.device | str) -> Iterator[None]:
    """Inside the block torch's deterministic algorithms are used on a GPU; on a CPU nothing changes.

    RuntimeError by torch at an operation that has none, which a feature network of one's own may hold.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch refuses matrix products without it
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)  # not warn_only, with which attention stays as it is
    torch.utils.deterministic.fill_uninitialized_memory = False  # it would write to all memory that is asked for
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled
