"""Optimizers by name: AdamW (arXiv 1711.05101), Adam (arXiv 1412.6980), RMSprop and SGD with momentum, all of them torch's, and Muon.

Each is built with the state of zero steps, so that a checkpoint of a player that has not moved is exact: without it torch's
get_optimizer_state_dict takes, and counts, a step to create one.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from bitmosaic.spec import Spec
from bitmosaic.train.muon import Muon, is_matrix

Groups = list[dict[str, Any]]  # torch's parameter groups
Built = TypeVar("Built", bound=torch.optim.Optimizer)


@dataclass(frozen=True)
class OptimizerSpec(Spec, abc.ABC, abstract=True):
    """How gradients move weights; learning rate and weight decay stand in the groups."""

    @abc.abstractmethod
    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Optimizer:
        """The optimizer of these parameters, with the state of zero steps."""


@dataclass(frozen=True)
class AdamWSpec(OptimizerSpec):
    """Adam with weight decay beside the gradient."""

    betas: tuple[float, float] = (0.9, 0.95)  # of the means of gradients and of their squares
    eps: float = 1e-8

    def __post_init__(self):
        check_betas(self.betas)
        _check_positive("eps", self.eps)

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.AdamW:
        return _begun(torch.optim.AdamW(groups, lr=learning_rate, betas=self.betas, eps=self.eps), _moments)


@dataclass(frozen=True)
class AdamSpec(OptimizerSpec):
    """Adam; weight decay is a part of the gradient."""

    betas: tuple[float, float] = (0.5, 0.999)  # as GANs are trained since DCGAN (arXiv 1511.06434)
    eps: float = 1e-8

    def __post_init__(self):
        check_betas(self.betas)
        _check_positive("eps", self.eps)

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.Adam:
        return _begun(torch.optim.Adam(groups, lr=learning_rate, betas=self.betas, eps=self.eps), _moments)


@dataclass(frozen=True)
class RMSpropSpec(OptimizerSpec):
    """Gradients over the root of the running mean of their squares."""

    alpha: float = 0.99  # of that mean
    eps: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self):
        _check_share("alpha", self.alpha)
        _check_positive("eps", self.eps)
        _check_share("momentum", self.momentum)

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.RMSprop:
        made = torch.optim.RMSprop(groups, lr=learning_rate, alpha=self.alpha, eps=self.eps, momentum=self.momentum)
        names = ("square_avg", *["momentum_buffer"] * (self.momentum > 0))
        return _begun(made, lambda p: {"step": torch.tensor(0.0), **{name: torch.zeros_like(p) for name in names}})


@dataclass(frozen=True)
class SGDSpec(OptimizerSpec):
    """Stochastic gradient descent."""

    momentum: float = 0.9
    nesterov: bool = False  # look ahead along the momentum

    def __post_init__(self):
        _check_share("momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: it looks ahead along the momentum, which is 0; give some, or leave it off")

    def build(self, groups: Groups, learning_rate: float) -> torch.optim.SGD:
        made = torch.optim.SGD(groups, lr=learning_rate, momentum=self.momentum, nesterov=self.nesterov)
        held = (lambda p: {"momentum_buffer": torch.zeros_like(p)}) if self.momentum else (lambda p: {"step": torch.tensor(0.0)})
        return _begun(made, held)  # without momentum it has no state of its own, and torch would make one


@dataclass(frozen=True)
class MuonSpec(OptimizerSpec):
    """Muon (Jordan et al., 2024) for matrices and convolutions, AdamW for everything else (train/muon.py)."""

    matrix_rate: float = 4.0  # learning rate of the matrices over that of the rest
    momentum: float = 0.95  # Nesterov's, of the matrices
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    eps: float = 1e-8

    def __post_init__(self):
        check_betas(self.betas)
        _check_share("momentum", self.momentum)
        _check_positive("eps", self.eps)
        _check_positive("matrix_rate", self.matrix_rate)

    def build(self, groups: Groups, learning_rate: float) -> Muon:
        """ValueError for weights that are sharded: an update needs whole matrices."""
        made = Muon(groups, learning_rate, self.matrix_rate, self.momentum, self.betas, self.eps)
        return _begun(made, lambda p: _momentum(p) if is_matrix(p) else _moments(p))


def check_betas(betas: tuple[float, float]) -> None:
    """ValueError where a mean could not be one."""
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas: got {betas}; want two numbers in [0, 1)")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: got {value}; want a number in [0, 1)")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: got {value}; want a positive number")


def _moments(p: Tensor) -> dict[str, Tensor]:
    return {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def _momentum(p: Tensor) -> dict[str, Tensor]:
    return {"step": torch.tensor(0.0), "momentum_buffer": torch.zeros_like(p)}


def _begun(optimizer: Built, state: Callable[[Tensor], dict[str, Tensor]]) -> Built:
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p] = state(p)
    return optimizer
