"""Describes a Run before anything is trained: its fields, parameters, and an estimate of memory."""

from __future__ import annotations

import json
from typing import Any

import torch

from bitmosaic.names import plain
from bitmosaic.nets.precision import resolve
from bitmosaic.train.plan import FRAMEWORK, SLACK, costs
from bitmosaic.train.processes import own_device
from bitmosaic.train.run import Run


def describe(run: Run) -> str:
    """The run as JSON, then a table of its stages: parameters, training state, activations of one batch."""
    rows, device = [("part", "parameters", "weights, gradients, Adam, EMA", "activations of a batch", "together")], own_device()
    for cost in costs(run, torch.device(device).type):
        training = cost.training
        state = 20 * cost.parameters  # five float32 copies
        activations = cost.step(training.part_size, False, training.recompute).bytes
        batch = f"{_size(activations)} ({training.part_size})"
        rows.append((cost.name, f"{cost.parameters:,}", _size(state), batch, _size(state + activations)))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    table = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    reasons = "".join(f"  {plain(reason)}\n" for reason in run.reasons)
    note = f"Memory is what is counted in a step without its values; on top come {on_top(torch.device(device).type, run)}."
    return f"{json.dumps(_without_reasons(run), indent=1)}\n\n{reasons}\n{table}\n{note}"


def on_top(device: str, run: Run) -> str:
    """What a process holds beyond the table, as measured."""
    if device != "cpu":
        return f"{FRAMEWORK / 1e9:g} GB of the framework's own and {SLACK - 1:.1%} of its allocator's slack"
    low = any(resolve(stage.training.precision, "cpu") == "bf16" for stage in run.stages if stage.training is not None)
    factor = "in bf16, as here, 1.5 to 2 times" if low else "in float32 1.2 times, with recompute 1.5 times"
    return f"0.3 GB of the framework's own and what the C library keeps of freed memory: a CPU's process takes {factor} as much"


def _size(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _without_reasons(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.to_json().items() if k != "reasons"}
