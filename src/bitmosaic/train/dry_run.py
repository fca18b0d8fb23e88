"""What a Run is and what it takes, before anything is trained: parameters, and an estimate of memory. Nothing is allocated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from bitmosaic.images.specs import CodesSpec
from bitmosaic.names import plain
from bitmosaic.nets.precision import resolve
from bitmosaic.train.plan import FRAMEWORK, SLACK, feature_net
from bitmosaic.train.processes import own_device
from bitmosaic.train.rehearsal import most_bytes, prior_step, tokenizer_step
from bitmosaic.train.run import Run, TrainedFeatures
from bitmosaic.train.training import Training


def describe(run: Run) -> str:
    """The run as JSON, then a table of its parts: parameters, training state, activations of one batch."""
    rows = [("part", "parameters", "weights, gradients, Adam, EMA", "activations of a batch", "together")]
    for name, module, shared, activations, training in _parts(run):
        state = 20 * (_count(module) + shared)  # five float32 copies
        batch = f"{_size(activations)} ({training.part_size})"
        rows.append((name, f"{_count(module):,}", _size(state), batch, _size(state + activations)))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    table = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    reasons = "".join(f"  {plain(reason)}\n" for reason in run.reasons)
    note = f"Memory is what is counted in a step without its values; on top come {on_top(torch.device(own_device()).type, run)}."
    return f"{json.dumps(_without_reasons(run), indent=1)}\n\n{reasons}\n{table}\n{note}"


def on_top(device: str, run: Run) -> str:
    """What a process holds beyond the table, as measured."""
    if device != "cpu":
        return f"{FRAMEWORK / 1e9:g} GB of the framework's own and {SLACK - 1:.1%} of its allocator's slack"
    low = any(resolve(training.precision, "cpu") == "bf16" for training in (run.tokenizer_training, run.prior_training))
    factor = "in bf16, as here, 1.5 to 2 times" if low else "in float32 1.2 times, with recompute 1.5 times"
    return f"0.3 GB of the framework's own and what the C library keeps of freed memory: a CPU's process takes {factor} as much"


def _parts(run: Run) -> Iterator[tuple[str, nn.Module, int, int, Training]]:
    """(name, module on the meta device, further trained parameters, bytes of a part of a batch, training) of each stage."""
    device = torch.device(own_device()).type
    with torch.device("meta"):
        net = run.features.net.build() if isinstance(run.features, TrainedFeatures) else None
        tokenizer, discriminator = run.tokenizer.build(), run.tokenizer_losses.discriminator
        adversary = discriminator.build() if discriminator else None
        prior = run.prior.build()
    if net is not None:
        training = run.features.training
        shape = (training.part_size, tokenizer.channels, *tokenizer.image_size)
        yield "features", net, 0, most_bytes([net], lambda: net(torch.empty(shape, device="meta")), training.precision, device), training
    if not isinstance(run.images, CodesSpec):
        training = run.tokenizer_training
        with torch.device("meta"):
            features = feature_net(run)
        both, step = [tokenizer, *([adversary] if adversary else [])], tokenizer_step(tokenizer, adversary, training.part_size, features)
        activations = most_bytes(both, step, training.precision, device, frozen=features)
        yield "tokenizer", tokenizer, _count(adversary) if adversary else 0, activations, training
    training = run.prior_training
    for block in prior.blocks:
        block.recompute = training.recompute
    yield "prior", prior, 0, most_bytes([prior], prior_step(prior, training.part_size), training.precision, device), training


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _size(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _without_reasons(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.to_json().items() if k != "reasons"}
