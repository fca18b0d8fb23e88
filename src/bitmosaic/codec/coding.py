"""Codes <-> files, for any coder.

    digits --asks--> bits, levels --round--> P(bit = 1) --range coder--> packets --container--> bytes

What a coder says is rounded to whole levels. Where a level stands within MARGIN of the middle between two, another machine might round
it the other way; the encoder writes down which way it went, and the decoder takes its word for it. So both agree on every probability
as long as their networks agree to MARGIN, sixteen times the most that threads and batches were seen to change (docs/codec.md).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np
import torch

from bitmosaic.codec.base import LIMIT, Ask, CodecError, Coder, check_binary, probabilities
from bitmosaic.codec.container import Container
from bitmosaic.codec.range_coder import RangeDecoder, encoded
from bitmosaic.codes import Codes

MARGIN = 5e-4  # of a level


def compress(codes: Codes, coder: Coder, tokenizer: bytes, packets: int = 1) -> list[bytes]:
    """Files of images' codes. tokenizer: its fingerprint, four bytes; packets: at most as many as places.

    The places of a packet are spread over the image. With a sequential coder, such as the prior, a file that is cut short keeps its first
    packets; with another every packet stands for itself.
    """
    check_binary(codes)
    if not 1 <= packets <= codes.places:
        raise ValueError(f"packets: got {packets}; want 1 to {codes.places}, one for each place at most")
    digits, b = codes.flat().cpu(), len(codes)
    bits, levels, of = [], [], []
    asks = coder.asks(b, codes.grid, len(codes.radix), packets)
    ask = next(asks)
    while ask is not None:
        there = digits[:, ask.places].gather(2, ask.columns)
        bits.append(there.reshape(b, -1).numpy()), levels.append(ask.levels.reshape(b, -1).numpy())
        of.append(np.full(bits[-1].shape[1], ask.packet))
        ask = _sent(asks, there)
    bits, levels, of = np.concatenate(bits, 1), np.clip(np.concatenate(levels, 1), -LIMIT, LIMIT), np.concatenate(of)
    p, risky, table = np.rint(levels).astype(int), np.abs(levels - np.floor(levels) - 0.5) < MARGIN, probabilities()
    model, check = coder.fingerprint(), [binascii.crc_hqx(row.tobytes(), 0) for row in codes.pack()]
    files = []
    for i in range(b):
        exceptions = [(int(at), bool(p[i, at] > np.floor(levels[i, at]))) for at in risky[i].nonzero()[0]]
        parts = [encoded(bits[i, of == packet], table[p[i, of == packet] + LIMIT]) for packet in range(packets)]
        files.append(Container(
            coder.number, tokenizer, model, codes.grid, len(codes.radix), tuple(exceptions), check[i], tuple(parts)
        ).to_bytes())  # fmt: skip
    return files


def decompress(files: Sequence[Container], coder: Coder) -> tuple[Codes, torch.Tensor]:
    """Codes of files that were made with this coder, alike in sizes and packets, and which places are known, (b, *grid) bool.

    Places of lost packets, and with a sequential coder of all packets after the first lost one, are zero and not known. CodecError where
    the codes are not those that were encoded.
    """
    first, b = files[0], len(files)
    sizes = {(f.coder, f.grid, f.bits, len(f.packets)) for f in files}
    if len(sizes) > 1 or first.coder != coder.number:
        raise ValueError(f"files: got {len(sizes)} kinds; want one, made with the {coder.name} coder")
    digits = torch.zeros(b, first.grid[0] * first.grid[1], first.bits, dtype=torch.uint8)
    known = torch.zeros(digits.shape[:2], dtype=torch.bool)
    table, written = probabilities(), [dict(f.exceptions) for f in files]
    whole = [_readable(f, coder) for f in files]
    readers: list[RangeDecoder | None] = [None] * b
    asks, at, packet = coder.asks(b, first.grid, first.bits, len(first.packets)), 0, -1
    ask = next(asks)
    while ask is not None:
        if ask.packet != packet:
            packet = ask.packet
            readers = [RangeDecoder(f.packets[packet]) if whole[i][packet] else None for i, f in enumerate(files)]
        found, at = _read(ask, readers, written, table, at)
        for i in range(b):
            known[i, ask.places] = readers[i] is not None
        digits[:, ask.places] = digits[:, ask.places].scatter(2, ask.columns, found)
        if not any(any(w[packet:]) for w in whole):
            break  # nothing is left to read
        ask = _sent(asks, found)
    digits *= known[..., None]
    codes = Codes(digits.view(b, *first.grid, first.bits), (2,) * first.bits)
    for i, row in enumerate(codes.pack()):
        if bool(known[i].all()) and binascii.crc_hqx(row.tobytes(), 0) != files[i].check:
            raise CodecError("the codes are not those that were encoded: this machine's probabilities are other ones than the encoder's")
    return codes, known.view(b, *first.grid)


def _readable(file: Container, coder: Coder) -> list[bool]:
    """Which packets can be read."""
    there = [packet is not None for packet in file.packets]
    return [all(there[: i + 1]) for i in range(len(there))] if coder.sequential else there


def _read(ask: Ask, readers: list, written: list[dict[int, bool]], table: np.ndarray, at: int) -> tuple[torch.Tensor, int]:
    """The bits (b, g, c) that are asked for, of which the first is number `at`, and the number after the last."""
    levels = np.clip(ask.levels.reshape(len(readers), -1).numpy(), -LIMIT, LIMIT)
    count = levels.shape[1]
    found = np.zeros(levels.shape, np.uint8)
    for i, reader in enumerate(readers):
        if reader is not None:
            whole = np.rint(levels[i]).astype(int)
            for number, up in written[i].items():
                if at <= number < at + count:
                    whole[number - at] = int(np.floor(levels[i, number - at])) + up
            found[i] = reader(table[np.clip(whole, -LIMIT, LIMIT) + LIMIT])
    return torch.from_numpy(found).view(ask.columns.shape), at + count


def _sent(asks, bits: torch.Tensor) -> Ask | None:
    try:
        return asks.send(bits)
    except StopIteration:
        return None
