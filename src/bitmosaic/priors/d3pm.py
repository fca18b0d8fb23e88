"""D3PM over indices of a codebook: discrete denoising diffusion by a Transformer (Austin et al., arXiv 2107.03006; on codes of images
VQ-Diffusion, Gu et al., 2111.14822, and VQ-DDM, Hu et al., 2112.01799).

We differ in the network, the Llama blocks of BiGR with rotary positions, all modulated by time and condition together (adaLN), and,
for conditions with tokens, cross-attention before each block, as VQ-Diffusion reads text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitmosaic.conditions import Encoded
from bitmosaic.nets.adaln_mlp import sinusoid
from bitmosaic.nets.llama import Block, RMSNorm
from bitmosaic.nets.rotary import rotary_table
from bitmosaic.priors.base import IndexPriorSpec, check_rotary, start, token_readers
from bitmosaic.priors.chain import ChainSpec, MaskAndReplaceSpec
from bitmosaic.priors.denoising import DenoisingPrior

WAVES, SPAN = 256, 1000  # width of the sinusoidal embedding, and the time that T is scaled to, so that a network serves any T


@dataclass(frozen=True)
class D3PMSpec(IndexPriorSpec):
    """Sizes of a D3PM, its chain and its loss."""

    multiple: int = 32  # the inner width of SwiGLU is 8/3 of D rounded up to a multiple of this
    chain: ChainSpec = MaskAndReplaceSpec()  # how codes become noise
    auxiliary: float = 1e-3  # lambda, of the cross-entropy of x_0 beside the variational bound

    def __post_init__(self):
        super().__post_init__()
        check_rotary(self.grid, self.width, self.heads)
        if self.multiple < 1:
            raise ValueError(f"multiple: got {self.multiple}; must be positive")
        if not 0 <= self.auxiliary < math.inf:
            raise ValueError(f"auxiliary: got {self.auxiliary}; want a weight, not negative")

    def build(self) -> D3PM:
        return D3PM(self)


class D3PM(DenoisingPrior):
    """Noisy indices, the condition's token before them; time and condition modulate every block."""

    def __init__(self, spec: D3PMSpec):
        super().__init__()
        self.spec, self.grid, self.radix, self.auxiliary = spec, spec.grid, spec.radix, spec.auxiliary
        self.chain, width = spec.chain.build(spec.codewords), spec.width
        self.condition = spec.condition.build(width, tokens=True)
        self.table = nn.Embedding(self.chain.states, width)
        self.time = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)  # one for all blocks
        self.blocks = nn.ModuleList(Block(width, spec.heads, multiple=spec.multiple) for _ in range(spec.depth))
        self.readers = token_readers(spec.condition, width, spec.heads, spec.depth)
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, spec.codewords)
        self.apply(start)
        nn.init.normal_(self.table.weight, std=0.02)

    def streams(self, x_t: Tensor, t: Tensor, told: Encoded | Tensor) -> Iterator[Tensor]:
        """The residual stream after each block in turn, (b, 1 + N, D); arguments as of `logits`."""
        encoded = Encoded.of(told)
        vectors, x = encoded.vector, self.table(x_t)
        x = torch.cat([vectors[:, None].to(x.dtype), x], 1)
        time = self.time(sinusoid(t * (SPAN / self.chain.steps), WAVES).to(vectors.dtype))
        modulation = self.modulation(nn.functional.silu(vectors + time)).view(len(x), 6, -1)
        table = rotary_table(self.grid, x.shape[-1] // self.spec.heads, x.device)
        for i, block in enumerate(self.blocks):
            if self.readers is not None:
                x = x + self.readers[i](x, encoded.tokens, encoded.mask)
            x = block(x, modulation, table)
            yield x

    def logits(self, x_t: Tensor, t: Tensor, told: Encoded | Tensor) -> Tensor:
        *_, x = self.streams(x_t, t, told)
        return self.out(self.norm(x)[:, 1:])

    def whole(self, digits: Tensor, told: Encoded | Tensor) -> Iterator[Tensor]:
        """As `Prior.whole`: clean codes at time 1, the smallest in training."""
        return self.streams(digits[..., 0].long(), torch.ones(len(digits), device=digits.device), told)
