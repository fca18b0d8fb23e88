"""The coder without a model: every bit takes one bit."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from bitmosaic.codec.base import Ask, Coder, in_packet, packet_of, spread


class UniformCoder(Coder):
    """P(bit = 1) is a half."""

    name, number, sequential = "uniform", 0, False

    def fingerprint(self) -> bytes:
        return b""

    def asks(self, batch: int, grid: tuple[int, ...], bits: int, packets: int) -> Generator[Ask, Tensor, None]:
        order = spread(grid)
        of = packet_of(len(order), packets)
        for packet in range(packets):
            places = in_packet(order, of, packet)
            columns = torch.arange(bits).expand(batch, len(places), bits)
            yield Ask(packet, places, columns, torch.zeros(columns.shape, dtype=torch.float64))
