"""The coder by frequencies: how often each bit of each place is 1 in the codes that it was fitted to. Integers, so machines agree."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable

import torch
from torch import Tensor

from bitmosaic.codec.base import LIMIT, STEP, Ask, Coder, in_packet, packet_of, spread
from bitmosaic.codes import Codes


class StaticCoder(Coder):
    """P(bit = 1) from a table, one for each bit of each place."""

    name, number, sequential = "static", 1, False

    def __init__(self, levels: Tensor):
        """levels: (places, bits) int8, STEP times the logits, at most LIMIT. ValueError for anything else."""
        if levels.dtype != torch.int8 or levels.ndim != 2 or levels.numel() == 0 or int(levels.to(torch.int16).abs().max()) > LIMIT:
            raise ValueError(f"levels: got {levels.dtype} {tuple(levels.shape)}; want int8 (places, bits) within {LIMIT}")
        self.levels = levels.cpu().contiguous()

    @staticmethod
    def fit(batches: Iterable[Codes]) -> StaticCoder:
        """From codes: log-odds of (ones + 1/2) / (zeros + 1/2) (Krichevsky and Trofimov), rounded. ValueError where there are none."""
        ones, count = torch.zeros(()), 0
        for codes in batches:
            ones, count = ones + codes.bits().cpu().double().sum(0), count + len(codes)
        if not count:
            raise ValueError("batches: no codes to fit to")
        odds = ((ones + 0.5) / (count - ones + 0.5)).log()
        return StaticCoder((STEP * odds).clamp(-LIMIT, LIMIT).round().to(torch.int8))

    def fingerprint(self) -> bytes:
        return hashlib.sha256(self.levels.numpy().tobytes()).digest()[:4]

    def asks(self, batch: int, grid: tuple[int, ...], bits: int, packets: int) -> Generator[Ask, Tensor, None]:
        order = spread(grid)
        if self.levels.shape != (len(order), bits):
            raise ValueError(f"static coder: fitted to {tuple(self.levels.shape)} places and bits; these codes have {(len(order), bits)}")
        of = packet_of(len(order), packets)
        for packet in range(packets):
            places = in_packet(order, of, packet)
            levels = self.levels[places].double().expand(batch, len(places), bits)
            yield Ask(packet, places, torch.arange(bits).expand(levels.shape), levels)
