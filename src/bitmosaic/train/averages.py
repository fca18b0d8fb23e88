"""Averages of weights, and of what else a network holds: running means are averaged as weights are, spectral norms are found anew.

Spectral normalisation (Miyato et al., arXiv 1802.05957) keeps a weight's leading singular vectors, which power iterations follow. The mean
of unit vectors is none, nor are they those of the mean of the weights: an average has its own, and follows its own weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.optim.swa_utils import AveragedModel

EACH, LAST = 3, 100  # power iterations of each update, which add up, and of a network that is to be used


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
