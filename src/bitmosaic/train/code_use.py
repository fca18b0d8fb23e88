"""How much of a codebook training uses: counts of one epoch, and what they say, for a tokenizer whose places hold indices or few bits.

Use is the share of codewords taken at all in an epoch, as SimVQ's program counts it (arXiv 2411.02038); perplexity is the exponential of
the entropy of their frequencies (VQ-VAE, 1711.00937).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitmosaic.evaluate.code_use import perplexity
from bitmosaic.train.game import Notice

COLLAPSED = 0.01  # use of an epoch below which a training has collapsed
MOST_BITS = 18  # of a place whose bits are counted together, as one index: more have more codes than any epoch has places


class CodeUse(nn.Module):
    """Counts of each value of each digit in the epoch so far, and the use and perplexity of the last whole epoch; buffers, so that a
    resumed run counts on. Of several digits the means; the bits of a place are one digit.
    """

    def __init__(self, radix: tuple[int, ...]):
        super().__init__()
        self.bits = set(radix) == {2}
        self.radix = (2 ** len(radix),) if self.bits else radix
        self.register_buffer("counts", torch.zeros(sum(self.radix)))
        self.register_buffer("epoch", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))  # of the last whole epoch
        self.register_buffer("places", torch.zeros(()))  # in it

    @staticmethod
    def of(radix: tuple[int, ...]) -> CodeUse | None:
        """Of places of that radix; None for more bits than can be counted."""
        return None if set(radix) == {2} and len(radix) > MOST_BITS else CodeUse(radix)

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
        rows = digits.flatten(0, -2).long()
        if self.bits:
            rows = (rows << torch.arange(rows.shape[1], device=rows.device)).sum(1, keepdim=True)
        starts = torch.tensor([0, *self.radix[:-1]], device=digits.device).cumsum(0)
        self.counts += torch.bincount((rows + starts).flatten(), minlength=len(self.counts)).to(self.counts.dtype)
        used, effective = self.last.unbind() if self.epoch > 0 else self.measure()
        return {"used": used, "perplexity": effective}

    def measure(self) -> tuple[Tensor, Tensor]:
        """Use in [0, 1] and perplexity of the counts."""
        parts = self.counts.split(self.radix)
        used = torch.stack([(part > 0).float().mean() for part in parts]).mean()
        return used, torch.stack([perplexity(part) for part in parts]).mean().float()

    def collapsed(self) -> bool:
        """Whether the last whole epoch used hardly any value, where its places could have used all ten times."""
        return bool(self.places >= 10 * max(self.radix)) and bool(self.last[0] < COLLAPSED)

    def notice(self) -> Notice | None:
        """That the codebook has collapsed, and what would help; of each epoch anew."""
        if not self.collapsed():
            return None
        used = float(self.last[0])
        remedy = "take a quantizer that keeps them in use, such as simvq, ema or fsq (--quantizer), or fewer codewords"
        text = f"{used:.2%} of the codewords were used in the last epoch; {remedy}"
        return Notice("collapsed", text, int(self.epoch), {"used": used})
