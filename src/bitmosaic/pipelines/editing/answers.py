"""Several results of one edit, ranked by the prior's code length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitmosaic.images import check_output, to_output
from bitmosaic.pipelines.conditions import generators, pairs
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.samplers import SamplerSpec


@dataclass(frozen=True)
class Answers:
    """Several results of one edit, the likeliest first."""

    images: Any  # as `output_type` says
    seeds: tuple[int, ...]
    # the code length, without guidance, of what was painted (`priors.likelihood`), plus the misfit of known pixels that steered places
    # (`editing.partly`): fewer bits are likelier
    bits: tuple[float, ...]
    notes: tuple[str, ...] = ()  # remarks on what was done beyond the arguments, a line each


def ranked(
    pipeline: TwoStagePipeline, make: Callable[[int, list[torch.Generator], SamplerSpec], tuple[Tensor, Tensor]], condition, seeds,
    batch_size: int, output_type, settings: dict[str, Any],
) -> Answers:  # fmt: skip
    """`make(n, generators, settings)` for each batch of seeds, its images and their bits; the answers by rising bits."""
    _, seeds = pairs(None, seeds)
    check_output(output_type, batch_size)
    how, _ = pipeline.settings(**settings), pipeline.labels([condition])  # refuses wrong settings even where nothing is to be painted
    parts = []
    for start in range(0, len(seeds), batch_size):
        rngs = generators(seeds[start : start + batch_size], pipeline.device)
        parts.append(make(len(rngs), rngs, how))
    bits = torch.cat([cost for _, cost in parts])
    order = bits.argsort(stable=True)
    images = torch.cat([images for images, _ in parts])[order]
    return Answers(to_output(images, output_type), tuple(seeds[i] for i in order), tuple(bits[order].tolist()))
