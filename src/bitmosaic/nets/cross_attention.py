"""Cross-attention: places read the tokens of a condition (Vaswani et al., arXiv 1706.03762; of text, Muse, arXiv 2301.00704)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.llama import RMSNorm, Sees, products


def among(mask: Tensor) -> Sees:
    """Attention restricted to keys where mask (b, n) bool is True, at least one in each row."""
    there = mask[:, None, None]

    def sees(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.device.type == "cpu" and q.requires_grad:  # plain products are faster there (`nets.llama.attend`)
            return products(q, k, v, attn_mask=there)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=there)

    return sees


class CrossAttention(nn.Module):
    """Attention of RMSNorm(x) to tokens, without biases and positions: tokens carry their own."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, RMSNorm(width)
        self.query, self.key_value = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """The residual (b, n, D) for x (b, n, D) from tokens (b, m, D); mask (b, m): False where a token is padding."""
        b, n, width = x.shape
        q = self.query(self.norm(x)).view(b, n, self.heads, -1).transpose(1, 2)
        k, v = self.key_value(tokens.to(x.dtype)).view(b, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(among(mask)(q, k, v).transpose(1, 2).reshape(b, n, width))
