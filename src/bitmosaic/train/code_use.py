"""How much of a codebook training uses: counts of one epoch, and what they say, for a tokenizer whose places hold indices.

Use is the share of codewords taken at all in an epoch, as SimVQ's program counts it (arXiv 2411.02038); perplexity is the exponential of
the entropy of their frequencies (VQ-VAE, 1711.00937).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COLLAPSED = 0.01  # use of an epoch below which a training has collapsed


class CodeUse(nn.Module):
    """Counts of each value of each digit in the epoch so far, and the use and perplexity of the last whole epoch; buffers, so that a
    resumed run counts on. Of several digits the means.
    """

    def __init__(self, radix: tuple[int, ...]):
        super().__init__()
        self.radix = radix
        self.register_buffer("counts", torch.zeros(sum(radix)))
        self.register_buffer("epoch", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))  # of the last whole epoch
        self.register_buffer("places", torch.zeros(()))  # in it

    @torch.no_grad()
    def add(self, digits: Tensor, epoch: float) -> dict[str, Tensor]:
        """Counts digits (..., k) of a batch that begins after `epoch` epochs: {"used", "perplexity"}, in the first epoch so far, then of
        the last whole one.
        """
        if int(epoch) > int(self.epoch):
            self.last.copy_(torch.stack(self.measure()))
            self.places.copy_(self.counts.sum() / len(self.radix))
            self.counts.zero_()
            self.epoch.fill_(int(epoch))
        starts = torch.tensor([0, *self.radix[:-1]], device=digits.device).cumsum(0)
        rows = (digits.flatten(0, -2).long() + starts).flatten()
        self.counts += torch.bincount(rows, minlength=len(self.counts)).to(self.counts.dtype)
        used, perplexity = self.last.unbind() if self.epoch > 0 else self.measure()
        return {"used": used, "perplexity": perplexity}

    def collapsed(self) -> bool:
        """Whether the last whole epoch used hardly any value, where its places could have used all ten times."""
        return bool(self.places >= 10 * max(self.radix)) and bool(self.last[0] < COLLAPSED)

    def measure(self) -> tuple[Tensor, Tensor]:
        """Use in [0, 1] and perplexity of the counts."""
        parts = self.counts.split(self.radix)
        used = torch.stack([(part > 0).float().mean() for part in parts]).mean()
        shares = [part / part.sum().clamp(min=1) for part in parts]
        return used, torch.stack([torch.special.entr(share).sum().exp() for share in shares]).mean()
