"""Codes <-> files, for any coder.

    digits --asks--> bits, levels --round--> P(bit = 1) --range coder--> packets --container--> bytes

A coder's levels are rounded to integers. Where a level lies within MARGIN of the middle between two, another machine might round it the
other way; the encoder records its rounding in the file, and the decoder follows it. So both use the same probabilities as long as their
networks agree to MARGIN, sixteen times the largest difference seen between numbers of threads and batch sizes (docs/codec.md). Larger
differences are detected by the checksum of a packet's codes.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codec.base import LIMIT, Ask, CodecError, Coder, answered, exactly, probabilities, sent
from bitmosaic.codec.container import Container
from bitmosaic.codec.range_coder import RangeDecoder, encoded
from bitmosaic.codes import Codes, digits_of

MARGIN = 5e-4  # of a level


def compress(codes: Codes, coder: Coder, tokenizer: bytes, packets: int = 1) -> list[bytes]:
    """One file for each image's codes. tokenizer: its fingerprint, four bytes; packets: at most as many as places, else ValueError.

    The places of a packet are spread over the image. With a sequential coder, such as the prior, a packet can be read after all before
    it; with another, every packet by itself.
    """
    if not 1 <= packets <= codes.places:
        raise ValueError(f"packets: got {packets}; want 1 to {codes.places}, one for each place at most")
    b = len(codes)
    with exactly():
        asked = list(answered(coder, codes, packets))
    bits = np.concatenate([found.reshape(b, -1).numpy() for _, found in asked], 1)
    levels = np.clip(np.concatenate([ask.levels.reshape(b, -1).numpy() for ask, _ in asked], 1), -LIMIT, LIMIT)
    if np.isnan(levels).any():
        raise ValueError(f"coder: the probabilities of the {coder.name} coder are NaN; its weights are damaged")
    of = np.concatenate([np.full(found[0].numel(), ask.packet) for ask, found in asked])
    p, risky, table = np.rint(levels).astype(int), np.abs(levels - np.floor(levels) - 0.5) < MARGIN, probabilities()
    model, places, digits = coder.fingerprint(), _places([ask for ask, _ in asked]), codes.bits().cpu()
    files = []
    for i in range(b):
        exceptions = [(int(at), bool(p[i, at] > np.floor(levels[i, at]))) for at in risky[i].nonzero()[0]]
        parts = [encoded(bits[i, of == packet], table[p[i, of == packet] + LIMIT]) for packet in range(packets)]
        checks = [check(digits[i, places[packet]]) for packet in range(packets)]
        files.append(Container(
            coder.number, tokenizer, model, codes.grid, digits.shape[-1], tuple(exceptions), tuple(checks), tuple(parts), coder.scale
        ).to_bytes())  # fmt: skip
    return files


def decompress(
    files: Sequence[Container], coder: Coder, unconfirmed: bool = False, radix: tuple[int, ...] | None = None
) -> tuple[Codes, Tensor, list[int | None]]:  # fmt: skip
    """Codes of files made with this coder, alike in sizes and packets; the known places, (b, *grid) bool; and for each file the first
    packet, counted from 0, that is whole but decodes to other codes than were encoded, since this machine's probabilities differ, or None.

    A place is known where its packet is whole and the checksum of the packet's codes matches; with a sequential coder, that of all packets
    before it too. Codes of all other places are zero. unconfirmed: places of packets without a checksum, as in incomplete files of version
    1, count as known. radix: of the codes; None: bits. ValueError for files of several kinds, or of another coder.
    """
    first, b = files[0], len(files)
    sizes = {(f.coder, f.grid, f.bits, len(f.packets), f.scale) for f in files}
    if len(sizes) > 1 or first.coder != coder.number or first.scale != coder.scale:
        raise ValueError(f"files: got {len(sizes)} kinds; want one, made with the {coder.name} coder")
    digits = torch.zeros(b, math.prod(first.grid), first.bits, dtype=torch.uint8)
    readable = [_readable(file, coder) for file in files]
    with exactly():
        places = _places(_read(files, coder, readable, digits))
    known, wrong = torch.zeros(digits.shape[:2], dtype=torch.bool), []
    for i, file in enumerate(files):
        confirmed = _confirmed(file, digits[i], places, readable[i], coder.sequential, unconfirmed)
        wrong.append(next((packet for packet, right in enumerate(confirmed) if right is False), None))
        for packet, right in enumerate(confirmed):
            if right:
                known[i, places[packet]] = True
    digits *= known[..., None]
    radix = radix or (2,) * first.bits
    digits = torch.minimum(digits_of(digits, radix), torch.tensor(radix) - 1)  # codes decoded wrongly may exceed the radix
    return Codes(digits.view(b, *first.grid, len(radix)), radix), known.view(b, *first.grid), wrong


def check(digits: Tensor) -> int:
    """CRC-16 of the bits of some places, (g, bits), in raster order."""
    return binascii.crc_hqx(np.packbits(digits.flatten().numpy()).tobytes(), 0)


def _places(asks: Iterable[Ask]) -> dict[int, Tensor]:
    """The places of each packet in `asks`, in raster order."""
    found: dict[int, list[Tensor]] = {}
    for ask in asks:
        found.setdefault(ask.packet, []).append(ask.places)
    return {packet: torch.cat(places).unique() for packet, places in found.items()}


def _readable(file: Container, coder: Coder) -> list[bool]:
    """Which packets can be read: with a sequential coder, those before the first that is lost."""
    there = [packet is not None for packet in file.packets]
    return [all(there[: i + 1]) for i in range(len(there))] if coder.sequential else there


def _confirmed(
    file: Container, digits: Tensor, places: dict[int, Tensor], readable: list[bool], sequential: bool, unconfirmed: bool
) -> list[bool | None]:  # fmt: skip
    """For each packet, whether its codes, of digits (N, k), are those that were encoded; None where that is unknown."""
    if file.version > 1:
        right = [check(digits[places[packet]]) == file.checks[packet] if there else None for packet, there in enumerate(readable)]
        return [one if not sequential or all(right[:packet]) else None for packet, one in enumerate(right)]
    if all(readable):
        return [check(digits) == file.checks[0]] * len(readable)
    trusted = unconfirmed or not sequential  # coders that are not sequential have integer levels, the same on any machine
    return [True if there and trusted else None for there in readable]


def _read(files: Sequence[Container], coder: Coder, readable: list[list[bool]], digits: Tensor) -> list[Ask]:
    """Decodes packets into digits (b, N, k), in place, as far as any can be read; returns the coder's asks."""
    first, table, written = files[0], probabilities(), [dict(file.exceptions) for file in files]
    readers: list[RangeDecoder | None] = [None] * len(files)
    asks, asked, at, packet = coder.asks(len(files), first.grid, first.bits, len(first.packets)), [], 0, -1
    ask: Ask | None = next(asks)
    while ask is not None:
        if ask.packet != packet:
            packet = ask.packet
            if not any(any(there[packet:]) for there in readable):
                break  # nothing is left to read
            readers = [RangeDecoder(f.packets[packet]) if readable[i][packet] else None for i, f in enumerate(files)]
        bits = _bits(ask, readers, written, table, at)
        at += bits[0].numel()
        digits[:, ask.places] = digits[:, ask.places].scatter(2, ask.columns, bits)
        asked.append(ask)
        ask = sent(asks, bits)
    return asked


def _bits(ask: Ask, readers: list[RangeDecoder | None], written: list[dict[int, bool]], table: np.ndarray, at: int) -> Tensor:
    """The bits (b, g, c) of an ask, of which the first is number `at` in order of coding; zeros where a packet cannot be read."""
    levels = np.clip(np.nan_to_num(ask.levels.reshape(len(readers), -1).numpy()), -LIMIT, LIMIT)
    found = np.zeros(levels.shape, np.uint8)
    for i, reader in enumerate(readers):
        if reader is not None:
            whole = np.rint(levels[i]).astype(int)
            for number, up in written[i].items():
                if at <= number < at + len(whole):
                    whole[number - at] = int(np.floor(levels[i, number - at])) + up
            try:
                found[i] = reader(table[np.clip(whole, -LIMIT, LIMIT) + LIMIT])
            except CodecError:  # written with other probabilities; the checksum of its codes will show it
                readers[i] = None
    return torch.from_numpy(found).view(ask.columns.shape)
