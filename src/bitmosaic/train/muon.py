"""Muon (K. Jordan et al., 2024, kellerjordan.github.io/posts/muon): momentum, orthogonalised, as the update of a matrix.

A convolution is the matrix of its output channels against the rest. The update U V^T of the momentum's singular value decomposition is
approximated by five Newton-Schulz steps and scaled to the size of AdamW's updates (Moonlight, Liu et al., arXiv 2502.16982, section 2.2),
so both share learning rates. We differ in leaving small matrices, such as tables of a few classes, to AdamW by their shape alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from bitmosaic.nets.precision import resolve

SMALLEST = 16  # rows and columns that a matrix has at least
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315  # of Newton-Schulz, and its polynomial's coefficients (Jordan et al.)
SIZE = 0.2  # root mean square of AdamW's updates (Moonlight)


def is_matrix(p: Tensor) -> bool:
    """Whether a parameter is moved by Muon."""
    return p.ndim >= 2 and min(len(p), p[0].numel()) >= SMALLEST


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T: (m, n) of any size, with singular values between 0.7 and 1.2, in float32.

    Computed in bf16 where the device multiplies it.
    """
    dtype = torch.bfloat16 if resolve("auto", matrix.device.type) == "bf16" else torch.float32
    x = matrix.to(dtype).T if len(matrix) > len(matrix[0]) else matrix.to(dtype)
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return (x.T if len(matrix) > len(matrix[0]) else x).float()


class Muon(torch.optim.Optimizer):
    """Matrices by orthogonalised momentum, all other parameters by AdamW; both with weight decay beside the gradient."""

    def __init__(self, params: Any, lr: float, matrix_rate: float, momentum: float, betas: tuple[float, float], eps: float):
        settings = {"lr": lr, "matrix_rate": matrix_rate, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0}
        super().__init__(params, settings)
        if any(isinstance(p, DTensor) for group in self.param_groups for p in group["params"]):
            raise ValueError("optimizer: Muon needs whole matrices, and sharded weights are cut; leave 'sharded' off, or take AdamW")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step; parameters without a gradient stay."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["step"] += 1
                    (self._move_matrix if is_matrix(p) else self._move)(p, group)

    def _move_matrix(self, p: Tensor, group: dict[str, Any]) -> None:
        rate, held = group["lr"] * group["matrix_rate"], self.state[p]["momentum_buffer"]
        held.mul_(group["momentum"]).add_(p.grad)
        update = orthogonalised(p.grad.add(held, alpha=group["momentum"]).flatten(1))
        p.mul_(1 - rate * group["weight_decay"])
        p.add_(update.view_as(p), alpha=-rate * SIZE * max(update.shape) ** 0.5)

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[p], group["betas"]
        state["exp_avg"].lerp_(p.grad, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
        count = float(state["step"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        root = state["exp_avg_sq"].sqrt().div_((1 - second**count) ** 0.5).add_(group["eps"])
        p.addcdiv_(state["exp_avg"], root, value=-group["lr"] / (1 - first**count))
