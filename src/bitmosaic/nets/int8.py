"""Linear layers in 8-bit integers, for processors that multiply these faster than floats (LLM.int8(), arXiv 2208.07339, without outliers).

    y[i, o] = s_i s_o sum_k q_ik w_ko + bias_o,  q_ik = round(x_ik / s_i),  s_i = max_k |x_ik| / 127

Weights are quantised once, a scale for each output; activations at each call, a scale for each row. So no calibration data is needed, and a
row does not depend on the others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Int8Linear(nn.Module):
    """A Linear layer's work, to about three digits, in a quarter of its memory; for inference."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8).t().contiguous())  # (in, out)
        self.register_buffer("scale", scale)  # (out,)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        step = rows.abs().amax(1, keepdim=True).float().clamp_(min=1e-12).div_(127)
        y = torch._int_mm(torch.div(rows, step).round_().to(torch.int8), self.weight) * step
        y = y.mul_(self.scale) if self.bias is None else torch.addcmul(self.bias, y, self.scale)
        return y.view(*x.shape[:-1], y.shape[-1]).to(x.dtype)


def quantize(module: nn.Module, least: int = 64) -> nn.Module:
    """`module` with its Linear layers replaced, in place; those narrower than `least` on either side stay as they are."""
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
