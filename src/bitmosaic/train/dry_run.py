"""What a Run is and what it takes, before anything is trained: parameters, and an estimate of memory. Nothing is allocated."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from bitmosaic.images.specs import CodesSpec
from bitmosaic.nets.precision import autocast
from bitmosaic.train.run import Run, TrainedFeatures
from bitmosaic.train.training import Training


def describe(run: Run) -> str:
    """The run as JSON, then a table of its parts: parameters, training state, activations of one batch."""
    rows = [("part", "parameters", "weights, gradients, Adam, EMA", "activations of a batch", "together")]
    for name, module, shared, saved, training in _parts(run):
        state = 20 * (_count(module) + shared)  # five float32 copies
        activations = saved * training.part_size
        batch = f"{_size(activations)} ({training.part_size})"
        rows.append((name, f"{_count(module):,}", _size(state), batch, _size(state + activations)))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    table = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    reasons = "".join(f"  {reason}\n" for reason in run.reasons)
    note = "Memory is an estimate: what autograd keeps for the backward pass, float32 counted as autocast keeps it, and no overhead."
    return f"{json.dumps(_without_reasons(run), indent=1)}\n\n{reasons}\n{table}\n{note}"


def _parts(run: Run):
    """(name, module on the meta device, further trained parameters, bytes saved an image, training) of each stage."""
    size, channels = run.tokenizer.image_size, run.tokenizer.channels
    with torch.device("meta"):
        image = torch.empty(1, channels, *size)
        if isinstance(run.features, TrainedFeatures):
            net = run.features.net.build()
            yield "features", net, 0, saved_bytes(net, lambda: net(image), run.features.training), run.features.training
        if not isinstance(run.images, CodesSpec):
            tokenizer = run.tokenizer.build()
            training, discriminator = run.tokenizer_training, run.tokenizer_losses.discriminator
            adversary = discriminator.build() if discriminator else None
            saved = saved_bytes(tokenizer, lambda: tokenizer(image), training)
            if adversary is not None:
                saved += 2 * saved_bytes(adversary, lambda: adversary(image), training)
            yield "tokenizer", tokenizer, _count(adversary) if adversary else 0, saved, training
        prior = run.prior.build()
        training = run.prior_training
        saved = saved_bytes(prior, lambda: _ask(prior), training)
        yield "prior", prior, 0, saved, training


def _ask(prior: nn.Module) -> torch.Tensor:
    """Backbone and head on one image with every place hidden."""
    places = prior.positions.shape[0]
    digits = torch.empty(1, places, len(prior.radix), dtype=torch.uint8)
    known = torch.empty(1, places, dtype=torch.bool)
    context = prior.context(digits, known, prior.embed(None, 1))[0]
    return prior.head.once(digits[0], context)


def saved_bytes(module: nn.Module, forward, training: Training) -> int:
    """Bytes of the tensors that autograd keeps in `forward()`, weights left out, each storage once."""
    weights = {p.untyped_storage()._cdata for p in module.parameters()}
    found: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = (storage, storage.nbytes())
        return tensor

    module.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(training.precision):
        forward()
    return sum(size for _, size in found.values())


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _size(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _without_reasons(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.to_json().items() if k != "reasons"}
