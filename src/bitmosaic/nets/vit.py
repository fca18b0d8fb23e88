"""The pre-norm Transformer block of ViT (arXiv 2010.11929), and U-ViT's, which takes a skip connection (arXiv 2209.12152)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bitmosaic.nets.llama import Sees, attend


class ViTBlock(nn.Module):
    """x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)), GELU; with `skips` first a linear layer over x and an earlier stream.

    bias: of queries, keys and values.
    recompute: the backward pass recomputes activations instead of keeping them (activation checkpointing).
    """

    recompute = False

    def __init__(self, width: int, heads: int, inner: int, skips: bool = False, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.skip = nn.Linear(2 * width, width) if skips else None
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor, earlier: Tensor | None = None, sees: Sees = attend) -> Tensor:
        """x, and `earlier` where the block has a skip connection, (b, n, D) -> (b, n, D); sees: the attention function."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._once, x, earlier, sees, use_reentrant=False, preserve_rng_state=False)
        return self._once(x, earlier, sees)

    def _once(self, x: Tensor, earlier: Tensor | None, sees: Sees) -> Tensor:
        if self.skip is not None:
            x = self.skip(torch.cat([x, earlier], -1))
        b, n, width = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(sees(q, k, v).transpose(1, 2).reshape(b, n, width))
        return x + self.feed_forward(self.feed_forward_norm(x))
