"""Linear layers in 8-bit integers, for processors that multiply these faster than floats (LLM.int8(), arXiv 2208.07339, without outliers).

    y[i, o] = s_i s_o sum_k q_ik w_ko + bias_o,  q_ik = round(x_ik / s_i),  s_i = max_k |x_ik| / 127

Weights are quantised once, a scale for each output; activations at each call, a scale for each row. So no calibration data is needed, and a
row does not depend on the others. On x86 without VNNI weights have 64 in the place of 127: see `largest_weight`.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn


class Int8Linear(nn.Module):
    """Replaces a Linear layer at inference, accurate to about three digits, in a quarter of its memory."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=1e-12) / largest_weight()
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8).t().contiguous())  # (in, out)
        self.register_buffer("scale", scale)  # (out,)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        step = rows.abs().amax(1, keepdim=True).float().clamp_(min=1e-12).div_(127)
        y = torch._int_mm(torch.div(rows, step).round_().to(torch.int8), self.weight) * step
        y = y.mul_(self.scale) if self.bias is None else torch.addcmul(self.bias, y, self.scale)
        return y.view(*x.shape[:-1], y.shape[-1]).to(x.dtype)


@functools.cache
def largest_weight() -> int:
    """127, or 64 where this processor adds pairs of products in 16 bits, which overflow beyond that: x86 without VNNI.

    It is tried out, for oneDNN chooses the instructions. 2 * 255 * 64 < 2^15, with activations stored as 1 to 255.
    """
    activations, weights = (torch.full(shape, 127, dtype=torch.int8) for shape in ((32, 64), (64, 64)))
    return 127 if bool((torch._int_mm(activations, weights) == 64 * 127**2).all()) else 64


def quantize(module: nn.Module, least: int = 64) -> nn.Module:
    """`module` with its Linear layers replaced by Int8Linear, in place, except those with fewer than `least` inputs or outputs."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            if min(child.in_features, child.out_features) >= least:
                setattr(module, name, Int8Linear(child))
        else:
            quantize(child, least)
    return module


def has_int8_products() -> bool:
    """Whether the processor multiplies 8-bit integers in vectors."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "dot"))
