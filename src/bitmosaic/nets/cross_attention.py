"""Cross-attention: places read the tokens of a condition (Vaswani et al., arXiv 1706.03762; of text, Muse, arXiv 2301.00704)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.llama import RMSNorm, Sees, products


def among(mask: Tensor) -> Sees:
    """Attention to those keys alone that are there: mask (b, n) bool, one at least in each row."""
    there = mask[:, None, None]

    def sees(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.device.type == "cpu" and q.requires_grad:  # plain products are faster there (`nets.llama.attend`)
            return products(q, k, v, attn_mask=there)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=there)

    return sees


class CrossAttention(nn.Module):
    """Attention(RMSNorm(x); tokens), no biases, no positions: those of the tokens are in the tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, RMSNorm(width)
        self.query, self.key_value = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """What is added to x (b, n, D) of tokens (b, m, D) where mask (b, m) says that they are there."""
        b, n, width = x.shape
        q = self.query(self.norm(x)).view(b, n, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(tokens.to(x.dtype)).view(b, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(among(mask)(q, k, v).transpose(1, 2).reshape(b, n, width))
