"""LeCam regularisation of a discriminator (Tseng et al., arXiv 2104.03310, eq. 5): its logits stay near running means of the other kind's.

We differ in nothing; as in the published programs, the means take in the batch before they are used, and begin at zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeCam(nn.Module):
    """The running means of the logits of real and of generated images, as buffers, and the penalty."""

    def __init__(self):
        super().__init__()
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("made", torch.zeros(()))

    def forward(self, real: Tensor, made: Tensor, decay: float) -> Tensor:
        """mean max(0, r - mean f)^2 + mean max(0, mean r - f)^2 of logits r, f of any shape, a scalar; the means follow with `decay`."""
        real, made = real.float(), made.float()
        with torch.no_grad():
            self.real.mul_(decay).add_((1 - decay) * real.mean())
            self.made.mul_(decay).add_((1 - decay) * made.mean())
        return F.relu(real - self.made).square().mean() + F.relu(self.real - made).square().mean()
