"""The coder by a prior's probabilities: places are revealed in groups, in a fixed order, and the bits of a place one by one, each coded
given all known by then (any-order autoregression, Uria et al., arXiv 1310.1757; bits by `Head.bit_by_bit`).

A diffusion head's probability of a bit depends on the noise in place of the bits not yet known; averaging over a few draws shortens the
code: 534 bits an image of the shipped model with four draws, 628 with one. The average is under-confident; a temperature (Guo et al.,
arXiv 1706.04599), fitted with the pipeline, saves another 3 %.

Floating-point networks do not agree to the last bit between machines, numbers of threads or batch sizes. `coding` rounds their logits and
records the few roundings that could go either way. Order and noise come from SHAKE-256, which is the same everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codec.base import (
    LIMIT,
    ONE,
    STEP,
    Ask,
    Coder,
    answered,
    exactly,
    fingerprint,
    packet_of,
    probabilities,
    spread,
)
from bitmosaic.codec.container import LARGEST_SCALE
from bitmosaic.codes import Codes, digit_dtype, digit_widths, digits_of
from bitmosaic.nets.schedules import hidden_after
from bitmosaic.priors.base import Prior

ROUNDS = 12  # groups of places, unless there are more packets
DRAWS = 4  # of noise over which probabilities are averaged, where a head takes noise; docs/codec.md measures other values of both


class PriorCoder(Coder):
    """P(bit = 1) given all bits before it."""

    name, number, sequential = "prior", 2, True

    def __init__(self, prior: Prior, scale: int = ONE):
        """scale: factor of the logits, the inverse of a temperature, an integer in 16ths so that all machines agree on it.

        ValueError where the prior is not in float32 on a CPU, since encoder and decoder might not agree, or has no head.
        """
        if prior.family == "denoising":
            raise ValueError("coder: a denoising prior bounds an image's probability, and gives no single code's; take static or uniform")
        weights = {(p.device.type, p.dtype) for p in prior.parameters()}
        if weights != {("cpu", torch.float32)} or any("Int8" in type(m).__name__ for m in prior.modules()):
            kinds = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in weights))
            raise ValueError(f"prior: got {kinds}; coding needs the pipeline as it was loaded, in torch.float32 on a CPU")
        if not 1 <= scale <= LARGEST_SCALE:
            raise ValueError(f"scale: got {scale}; want whole 16ths from 1 to {LARGEST_SCALE}")
        self.prior, self.scale = prior.eval(), scale

    @staticmethod
    def fit(prior: Prior, codes: Codes) -> PriorCoder:
        """The coder with the scale that makes some images' codes shortest; a few images suffice for one number."""
        lengths = PriorCoder(prior).lengths(codes)
        return PriorCoder(prior, ONE if lengths.isnan().any() else 1 + int(lengths.argmin()))

    def lengths(self, codes: Codes) -> Tensor:
        """Ideal length in bits of some images' codes at scales 1, ..., LARGEST_SCALE, (LARGEST_SCALE,) float64; NaN where logits are."""
        with exactly():
            asked = list(answered(PriorCoder(self.prior), codes))
        logits = torch.cat([ask.levels.flatten() for ask, _ in asked])
        if logits.isnan().any():
            return torch.full((LARGEST_SCALE,), math.nan, dtype=torch.float64)
        ones, table = torch.cat([bits.flatten() for _, bits in asked]).bool(), torch.from_numpy(probabilities())
        rows = ((logits * scale / ONE).clamp(-LIMIT, LIMIT).round().long() + LIMIT for scale in range(1, LARGEST_SCALE + 1))
        return torch.stack([-torch.where(ones, table[row], 1 - table[row]).log2().sum() for row in rows])

    def fingerprint(self) -> bytes:
        return fingerprint(self.prior)

    @torch.no_grad()
    def asks(self, batch: int, grid: tuple[int, ...], bits: int, packets: int) -> Generator[Ask, Tensor, None]:
        prior = self.prior
        if tuple(prior.grid) != tuple(grid) or sum(digit_widths(prior.radix)) != bits:
            own = sum(digit_widths(prior.radix))
            raise ValueError(f"prior coder: the prior has {prior.grid} places of {own} bits, these codes {grid} of {bits}")
        places = math.prod(grid)
        draws = DRAWS if prior.head.noisy else 1
        noise = _noise(1 + draws, places, bits)
        known, there = torch.zeros(batch, places, dtype=torch.bool), torch.zeros(batch, places, bits, dtype=torch.uint8)
        last = torch.tensor(prior.radix) - 1
        digits = torch.zeros(batch, places, len(prior.radix), dtype=digit_dtype(prior.radix))
        vectors = prior.embed(None, batch)
        step = prior.in_order(vectors) if prior.family == "causal" else None
        for packet, group in _groups(grid, packets, prior.family == "causal"):
            if step is None:
                told = prior.context(digits, known, vectors)[:, group]  # (b, g, D)
            else:
                told = step(digits[:, int(group) - 1] if int(group) else None)[:, None]
            each = noise[:, None, group].expand(-1, batch, -1, -1).flatten(1, 2)  # (1 + draws, b g, K), the same for every image
            uniforms = iter([each[0].repeat(draws, 1), each[1:].flatten(0, 1)])  # one order, draws of noise
            asked = prior.head.bit_by_bit(told.flatten(0, 1).repeat(draws, 1)[None], lambda uniforms=uniforms: next(uniforms))
            columns, logits = next(asked)
            while True:
                shape = (draws, batch, len(group), -1)
                columns = columns.reshape(shape)[0]
                mean = logits.double().reshape(shape).sigmoid().mean(0)
                found = yield Ask(packet, group, columns, STEP * self.scale / ONE * mean.logit())
                there[:, group] = there[:, group].scatter(2, columns, found)
                try:
                    columns, logits = asked.send(found.flatten(0, 1).repeat(draws, 1))
                except StopIteration:
                    break
            told = torch.minimum(digits_of(there[:, group], prior.radix), last)  # codes decoded wrongly may exceed the radix
            digits[:, group], known[:, group] = told.to(digits.dtype), True


def _groups(grid: tuple[int, ...], packets: int, raster: bool) -> Generator[tuple[int, Tensor], None, None]:
    """(packet, places) of each group: few places while little is known, as in sampling; raster: one place a group, in raster order."""
    places = math.prod(grid)
    order, of = (np.arange(places) if raster else spread(grid)), packet_of(places, packets)
    if raster:
        round_of = np.arange(places)
    else:
        ends = np.array([places - hidden_after(i, ROUNDS, places) for i in range(1, ROUNDS + 1)])
        round_of = np.searchsorted(ends, np.arange(places), side="right")
    for packet, number in dict.fromkeys(zip(of.tolist(), round_of.tolist(), strict=True)):
        yield packet, torch.from_numpy(order[(of == packet) & (round_of == number)])


def _noise(count: int, places: int, bits: int) -> Tensor:
    """(count, N, K) in [0, 1), multiples of 2^-24: for the order of the bits of each place, and for noise."""
    raw = hashlib.shake_256(b"bitmosaic prior coder 1").digest(3 * count * places * bits)
    whole = np.frombuffer(raw, np.uint8).reshape(count, places, bits, 3).astype(np.int64) @ np.array([1, 2**8, 2**16])
    return torch.from_numpy(whole / 2**24).float()
