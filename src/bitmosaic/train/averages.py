"""Averages of weights and buffers; buffers such as running means are averaged like weights, or copied.

An exponential moving average may start late and with a growing half-life (Karras et al., arXiv 1912.04958). Spectral normalisation (Miyato
et al., arXiv 1802.05957) keeps the leading singular vectors of a weight as buffers, updated by power iteration. Their means are neither
unit vectors nor singular vectors of the averaged weight, so we differ in iterating the average's own vectors on its own weights.
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

EACH, LAST = 3, 100  # power iterations at each update, and before the average is used


@dataclass(frozen=True)
class AverageSpec(Spec, abc.ABC, abstract=True):
    """A description of how a player's weights are averaged over the steps."""

    @abc.abstractmethod
    def build(self, module: nn.Module) -> AveragedModel | None:
        """An average that starts as the module's weights; None where nothing is averaged."""

    @abc.abstractmethod
    def take(self, average: AveragedModel, module: nn.Module, step: int, last: bool) -> None:
        """Updates the average with the module's weights after `step` steps; last: whether this is the last step."""


@dataclass(frozen=True)
class EMASpec(AverageSpec):
    """An exponential moving average."""

    decay: float = 0.999  # of the average at each update
    every: int = 1  # steps between two updates
    start: int = 0  # steps up to which the average is a copy of the weights
    ramp: float = 0.0  # bound of the half-life as a share of the updates so far (StyleGAN2: 0.05); 0: no bound
    buffers: Literal["averaged", "copied"] = "averaged"  # of buffers, such as running means

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
        """The decay of update number `updates`, from 1: its half-life is min(ln 1/2 / ln decay, ramp * updates)."""
        if not self.ramp or not self.decay:
            return self.decay
        half_life = min(math.log(0.5) / math.log(self.decay), self.ramp * updates)
        return 0.5 ** (1 / half_life) if half_life else 0.0


@dataclass(frozen=True)
class NoAverageSpec(AverageSpec):
    """No average: the last weights are kept."""

    def build(self, module: nn.Module) -> None:
        return None

    def take(self, average: AveragedModel, module: nn.Module, step: int, last: bool) -> None:
        raise AssertionError("there is no average")


@dataclass(frozen=True)
class Norm:
    """A spectral norm in a module: its vectors, and a function that runs `n` power iterations on the present weight."""

    vectors: tuple[Tensor, Tensor]
    iterate: Callable[[int], None]


def update(average: AveragedModel, module: nn.Module) -> None:
    """Updates the average with the module's weights and buffers; spectral norms are iterated on the average's own weights."""
    norms = list(spectral_norms(average.module))
    held = [[vector.clone() for vector in norm.vectors] for norm in norms]
    average.update_parameters(module)
    for norm, vectors in zip(norms, held, strict=True):
        for vector, before in zip(norm.vectors, vectors, strict=True):
            vector.copy_(before)
        norm.iterate(EACH)


def settled(module: nn.Module) -> nn.Module:
    """The module, or, where it has spectral norms, a copy in which their vectors have converged."""
    if next(spectral_norms(module), None) is None:
        return module
    module = copy.deepcopy(module)  # a copy, so that the average in training is not changed
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
