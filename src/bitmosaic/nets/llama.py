"""Llama block with adaptive modulation (BiGR, arXiv 2410.14672; Llama, 2302.13971; adaLN, DiT 2212.09748).

We differ in taking the attention as a function: bidirectional (BiGR's), causal, or causal with a KV cache.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bitmosaic.nets.rotary import rotate


def dropout(x: Tensor, p: float, rng: torch.Generator | None) -> Tensor:
    """Zero with probability p, scaled by 1 / (1 - p); `rng` None or p 0: x itself."""
    if rng is None or p == 0.0:
        return x
    keep = torch.empty_like(x).bernoulli_(1 - p, generator=rng)
    return x * keep / (1 - p)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over all places, (b, heads, n, d).

    torch's fused attention, except in training on a CPU, where its forward and backward passes take 51 ms and plain products 10 ms
    (128 x 4 x 50 x 64, bf16, two cores).
    """
    if q.device.type == "cpu" and q.requires_grad:
        return products(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def attend_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal `attend`: a place attends to itself and those before it."""
    if q.device.type == "cpu" and q.requires_grad:
        return products(q, k, v, is_causal=True)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def products(q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False, attn_mask: Tensor | None = None) -> Tensor:
    """Attention as plain products, which keep the matrix of weights for the backward pass; arguments as of torch's function."""
    weights = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    if is_causal:
        later = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
        weights = weights.masked_fill(later, float("-inf"))
    if attn_mask is not None:
        weights = weights.masked_fill(~attn_mask, float("-inf"))
    return weights.softmax(-1).to(v.dtype) @ v


class Past:
    """Causal attention of new places with a KV cache of all places before."""

    def __init__(self):
        self.kept: tuple[Tensor, Tensor] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.kept is not None:
            k, v = torch.cat([self.kept[0], k], 2), torch.cat([self.kept[1], v], 2)
        self.kept = k, v
        return F.scaled_dot_product_attention(q, k, v)


Sees = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys, values (b, heads, n, d) -> (b, heads, n, d)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, the mean square in float32, eps 1e-5."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.normalised(x) * self.weight.type_as(x)  # keeps the block in bf16 under autocast

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """`forward(x) (1 + scale) + shift` with two passes fewer over x (b, n, D); shift and scale (b, 1, D)."""
        return torch.addcmul(shift, self.normalised(x), (1 + scale) * self.weight.type_as(scale))

    @staticmethod
    def normalised(x: Tensor) -> Tensor:
        """x / rms(x), in x's type."""
        h = x.float()
        return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-5)).type_as(x)


class SwiGLU(nn.Module):
    """w2(SiLU(w1 x) * w3 x), inner width 8/3 of the input's, rounded up to a multiple of `multiple`; no biases."""

    def __init__(self, width: int, multiple: int = 256):
        super().__init__()
        inner = -(-int(8 * width / 3) // multiple) * multiple
        self.w1, self.w3 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, h = self.w1(x), self.w3(x)
        if torch.is_grad_enabled():
            return self.w2(F.silu(gate) * h)
        return self.w2(h.mul_(F.silu(gate, inplace=True)))  # in place: neither is used again


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, no biases."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, table: Tensor, sees: Sees = attend) -> Tensor:
        b, n, width = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        h = sees(*rotate(qkv[:2], table), qkv[2])  # (b, heads, n, width / heads)
        return self.out(h.transpose(1, 2).reshape(b, n, width))


class Block(nn.Module):
    """x + g1 Attention(RMSNorm(x) (1 + s1) + b1), then x + g2 SwiGLU(RMSNorm(x) (1 + s2) + b2); without `modulated`, g = 1, s = b = 0.

    recompute: the backward pass recomputes activations instead of keeping them (activation checkpointing).
    """

    recompute = False

    def __init__(self, width: int, heads: int, p: float = 0.0, modulated: bool = True, multiple: int = 256):
        super().__init__()
        self.p, self.modulated = p, modulated
        if modulated:
            self.offset = nn.Parameter(torch.randn(6, width) / width**0.5)  # added to the shared modulation
        self.attention_norm, self.attention = RMSNorm(width), Attention(width, heads)
        self.feed_forward_norm, self.feed_forward = RMSNorm(width), SwiGLU(width, multiple)

    def forward(
        self, x: Tensor, modulation: Tensor | None, table: Tensor, rng: torch.Generator | None = None, sees: Sees = attend
    ) -> Tensor:
        """x (b, n, D); modulation (b, 6, D) shared by all blocks, or None; table of `rotary_table`; `rng` None: no dropout."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self._once(x, modulation, table, rng, sees)
        began, ended = None if rng is None else rng.clone_state(), []

        def again(x: Tensor, modulation: Tensor | None) -> Tensor:
            own = None if began is None else began.clone_state()  # recomputation draws the same dropout
            out = self._once(x, modulation, table, own, sees)
            ended.append(own)
            return out

        out = checkpoint(again, x, modulation, use_reentrant=False, preserve_rng_state=False)
        if rng is not None:
            rng.set_state(ended[0].get_state())
        return out

    def _once(self, x: Tensor, modulation: Tensor | None, table: Tensor, rng: torch.Generator | None, sees: Sees) -> Tensor:
        if modulation is None:
            x = x + dropout(self.attention(self.attention_norm(x), table, sees), self.p, rng)
            return x + dropout(self.feed_forward(self.feed_forward_norm(x)), self.p, rng)
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset)[:, :, None].unbind(1)  # (b, 1, D) each
        h = self.attention(self.attention_norm.modulated(x, shift1, scale1), table, sees)
        x = torch.addcmul(x, gate1, dropout(h, self.p, rng))
        h = self.feed_forward(self.feed_forward_norm.modulated(x, shift2, scale2))
        return torch.addcmul(x, gate2, dropout(h, self.p, rng))
