"""Entropy of soft assignments to codewords (LFQ, arXiv 2310.05737, eq. 5): each place should be sure, and all codewords used.

We differ in nothing.
"""

from __future__ import annotations

from torch import Tensor


def assignment_entropies(logits: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows' distributions, and entropy of their mean, in nats; logits (n, K). eps: inside the second logarithm."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    mean = p.mean(0)
    return -(p * log_p).sum(-1).mean(), -(mean * (mean + eps).log()).sum()
