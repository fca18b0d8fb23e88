"""Averages of weights, and of what else a network holds: running means are averaged as weights are, or copied.

An exponential moving average may begin late, and with a half-life that grows (Karras et al., arXiv 1912.04958). Spectral normalisation
(Miyato et al., arXiv 1802.05957) keeps a weight's leading singular vectors, which power iterations follow. The mean of unit vectors is
none, nor are they those of the mean of the weights: an average has its own, and follows its own weights.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bitmosaic.spec import Spec

EACH, LAST = 3, 100  # power iterations of each update, which add up, and of a network that is to be used


@dataclass(frozen=True)
class AverageSpec(Spec, abc.ABC, abstract=True):
    """What is kept of a player's weights over the steps."""

    @abc.abstractmethod
    def build(self, module: nn.Module) -> AveragedModel | None:
        """An average that holds the module's weights as they are; None where the last weights are what is kept."""

    @abc.abstractmethod
    def take(self, average: AveragedModel, module: nn.Module, step: int, last: bool) -> None:
        """Takes the module's weights into the average, after `step` steps; `last`: no more will be made."""


@dataclass(frozen=True)
class EMASpec(AverageSpec):
    """An exponential moving average."""

    decay: float = 0.999  # of what is there, at each update
    every: int = 1  # steps between two updates
    start: int = 0  # steps up to which the average is a copy of the weights
    ramp: float = 0.0  # the most that the half-life may be, as a share of the updates so far (StyleGAN2: 0.05); 0: no such bound
    buffers: Literal["averaged", "copied"] = "averaged"  # what a network holds besides weights, such as running means

    def __post_init__(self):
        if not 0 <= self.decay < 1 or self.every < 1 or self.start < 0 or not 0 <= self.ramp < math.inf:
            raise ValueError(
                f"decay: got {self.decay}, want [0, 1); every: got {self.every}, want at least 1; "
                f"start: got {self.start}, ramp: got {self.ramp}, want finite numbers, not negative"
            )

    def build(self, module: nn.Module) -> AveragedModel:
        return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=self.buffers == "averaged")

    def take(self, average: AveragedModel, module: nn.Module, step: int, last: bool) -> None:
        if step % self.every and not (last and step < self.every):
            return
        if step <= self.start:
            average.n_averaged.zero_()  # the first of torch's updates is a copy
        if self.ramp:
            average.multi_avg_fn = get_ema_multi_avg_fn(self.decay_at(step // self.every))
        update(average, module)

    def decay_at(self, updates: int) -> float:
        """The decay of an update, of which there were so many with it: half-life min(ln 1/2 / ln decay, ramp * updates)."""
        if not self.ramp or not self.decay:
            return self.decay
        half_life = min(math.log(0.5) / math.log(self.decay), self.ramp * updates)
        return 0.5 ** (1 / half_life) if half_life else 0.0


@dataclass(frozen=True)
class NoAverageSpec(AverageSpec):
    """None: the last weights are what is kept."""

    def build(self, module: nn.Module) -> None:
        return None

    def take(self, average: AveragedModel, module: nn.Module, step: int, last: bool) -> None:
        raise AssertionError("there is no average")


@dataclass(frozen=True)
class Norm:
    """A spectral norm in a module: its vectors, and what does so many power iterations on the weight as it is."""

    vectors: tuple[Tensor, Tensor]
    iterate: Callable[[int], None]


def update(average: AveragedModel, module: nn.Module) -> None:
    """Takes the module's weights and buffers into the average; spectral norms of the average are its own."""
    norms = list(spectral_norms(average.module))
    held = [[vector.clone() for vector in norm.vectors] for norm in norms]
    average.update_parameters(module)
    for norm, vectors in zip(norms, held, strict=True):
        for vector, before in zip(norm.vectors, vectors, strict=True):
            vector.copy_(before)
        norm.iterate(EACH)


def settled(module: nn.Module) -> nn.Module:
    """The module, or where it has spectral norms a copy of it in which they are found to the last digits."""
    if next(spectral_norms(module), None) is None:
        return module
    module = copy.deepcopy(module)  # the average itself goes on as if nobody had looked
    for norm in spectral_norms(module):
        norm.iterate(LAST)
    return module


def spectral_norms(module: nn.Module) -> Iterator[Norm]:
    """Those of torch.nn.utils.parametrizations.spectral_norm and of the older torch.nn.utils.spectral_norm, at any depth."""
    for part in module.modules():
        for chain in part.parametrizations.values() if parametrize.is_parametrized(part) else ():
            for i, norm in enumerate(chain):
                if isinstance(norm, _SpectralNorm) and hasattr(norm, "_u"):  # a vector's norm needs none
                    yield Norm((norm._u, norm._v), _parametrized(chain, i))
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                vectors = getattr(part, f"{hook.name}_u"), getattr(part, f"{hook.name}_v")
                yield Norm(vectors, _hooked(part, hook))


def _parametrized(chain: parametrize.ParametrizationList, number: int) -> Callable[[int], None]:
    def iterate(count: int) -> None:
        norm = chain[number]
        training, each = norm.training, norm.n_power_iterations
        held = [chain.original] if chain.is_tensor else [getattr(chain, f"original{i}") for i in range(chain.ntensors)]
        with torch.no_grad():
            for before in islice(chain, number):
                held = [before(*held)]
            (weight,) = held
            norm.train()
            norm.n_power_iterations = count
            norm(weight)
        norm.train(training)
        norm.n_power_iterations = each

    return iterate


def _hooked(part: nn.Module, hook: SpectralNorm) -> Callable[[int], None]:
    def iterate(count: int) -> None:
        each, hook.n_power_iterations = hook.n_power_iterations, count
        with torch.no_grad():
            hook.compute_weight(part, do_power_iteration=True)
        hook.n_power_iterations = each

    return iterate
