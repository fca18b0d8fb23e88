"""Entropy of soft assignments to codewords (LFQ, arXiv 2310.05737, eq. 5): each place should be sure, and all codewords used.

We differ in nothing; a group's codes of bits are all sums of signs, so their logits are computed without a table beyond the group.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_BITS = 16  # of a group: 65,536 codes


def assignment_entropies(logits: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows' distributions, and entropy of their mean, in nats; logits (n, K). eps: inside the second logarithm."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    mean = p.mean(0)
    return -(p * log_p).sum(-1).mean(), -(mean * (mean + eps).log()).sum()


def sign_codes(bits: int, device: torch.device | None = None) -> Tensor:
    """All 2^bits vectors of +-1, (2^bits, bits), the first bit least significant. ValueError for more than 16 bits."""
    if bits > MOST_BITS:
        raise ValueError(f"group: got {bits} bits, whose {2**bits:,} codes are compared with every place; give at most {MOST_BITS}")
    return (torch.arange(2**bits, device=device)[:, None] >> torch.arange(bits, device=device) & 1) * 2.0 - 1


def sign_entropies(z: Tensor, scale: float, group: int, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """`assignment_entropies` of z (n, D) to vectors of +-1, logits `scale` z.c, summed over groups of `group` bits.

    Bits are independent given z, so the mean entropy does not depend on the groups; the entropy of the mean does.
    """
    found = [assignment_entropies(scale * part @ sign_codes(part.shape[1], z.device).T.to(z.dtype), eps) for part in z.split(group, 1)]
    return sum(each for each, _ in found), sum(of_mean for _, of_mean in found)
