"""Painting one picture of a pipeline's size, or one window of a larger one, where a mask says so; all masked edits use it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.images import spread
from bitmosaic.pipelines.conditions import Condition
from bitmosaic.pipelines.protocol import OnStep
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.samplers import SamplerSpec, Step

from .partly import SWEEPS, known_of, steer


def fill(
    pipeline: TwoStagePipeline, pixels: Tensor, repaint: Tensor, condition: Condition, generators: list[torch.Generator], feather: int,
    callback: OnStep, settings: SamplerSpec,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Images (n, C, H, W) with the pixels `repaint` (H, W) painted, one for each generator, and what that cost, bits (n,).

    The callback gets each round of the sampler, and then each sweep over partly known places, as a step.
    """
    smooth, _ = spread(pixels, ~repaint)  # the encoder sees a smooth continuation, not what lay there
    known, codes, rounds = known_of(repaint, pipeline.factor), pipeline.encode_pixels(smooth), 0
    sweeps = SWEEPS if known.steered.any() and pipeline.family == "masked" else 0

    def tell(step: Step) -> None:
        nonlocal rounds
        rounds = step.total
        if callback is not None:
            callback(replace(step, total=rounds + sweeps))

    def swept(sweep: int, codes: Codes) -> None:
        if callback is not None:
            nothing = torch.zeros(codes.digits.shape[:-1], device=codes.digits.device)
            callback(Step(rounds + sweep, rounds + sweeps, codes, nothing == 0, nothing))

    def draw(codes: Codes, given: Tensor, settings: SamplerSpec, callback: OnStep = None) -> Codes:
        given = given.expand(len(pixels), -1, -1).to(pipeline.device)
        return complete(pipeline, codes, given, condition, generators, callback, settings)

    if not known.shown.all():
        codes = draw(codes, known.shown, settings, tell)
    once = replace(settings, steps=1) if sweeps else settings
    codes, wrong = steer(
        pipeline, codes, pixels, repaint, known.steered, lambda codes, given: draw(codes, given, once), generators, sweeps, swept
    )  # fmt: skip
    made = pipeline.decode(codes, "pt")
    if feather and not repaint.all():
        step, rings = spread(pixels - made, ~repaint, feather)
        made = (made + step * (1 - rings / (feather + 1))).clamp(0, 1)  # pixels outside all rings are not changed
    whole = known.whole.expand(len(pixels), -1, -1).to(pipeline.device)
    return torch.where(repaint, made, pixels), pipeline.code_length(codes, whole, [condition] * len(codes)) + wrong


def complete(
    pipeline: TwoStagePipeline, codes: Codes, known: Tensor, condition: Condition, generators: list[torch.Generator], callback: OnStep,
    settings: SamplerSpec,
) -> Codes:  # fmt: skip
    """The codes when all places are known."""
    for step in pipeline.fill(codes, known, [condition] * len(codes), generators, settings):
        if callback is not None:
            callback(step)
    return step.codes
