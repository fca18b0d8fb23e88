"""The file format of compressed images: a header with all that a decoder must know, then packets.

    bytes       what
    4           "bmc" and the version: 2 for a grid of two axes, 3 for any other
    1           coder: 0 uniform, 1 static, 2 prior; for prior also 4 x the scale of its logits, in 16ths
    4           fingerprint of the tokenizer
    4           fingerprint of the coder's probabilities; absent for uniform
    varint      number of axes of the grid; absent in version 2
    varints     sides of the grid, bits of a place, number of packets
    varints     for each packet: its length in bytes
    2 each      for each packet: CRC-16 of its bytes, by which it is found again
    2 each      for each packet: CRC-16 of its codes, which confirms that they are those that were encoded
    varints     bits whose rounding is recorded: their number; for each 2 x (distance from the one before) + (1 if rounded up)
    4           CRC-32 of all the above
    rest        packets

Numbers of several bytes are big-endian; varints have seven bits a byte, low ones first. Version 1, which is read but no longer written,
has no scale, and one checksum of all codes, after the roundings, instead of one for each packet. docs/codec.md has the same table.
"""

from __future__ import annotations

import binascii
import math
from dataclasses import dataclass
from itertools import accumulate

from bitmosaic.codec.base import ONE, CodecError

MAGIC = b"bmc"
VERSION = 2  # written for grids of two axes
OF_ANY_AXES, MOST_AXES = 3, 8
LARGEST = 2**16  # places along a side, bits of a place, packets: no real file has more
MOST_LOOKED_AT = 2**29  # limit of a search for lost packets, in bytes hashed and 100 for each offset: some seconds
LARGEST_SCALE = 63  # six bits


@dataclass(frozen=True)
class Container:
    """The file of one image."""

    coder: int
    tokenizer: bytes  # 4
    model: bytes  # 4, or none
    grid: tuple[int, ...]
    bits: int
    exceptions: tuple[tuple[int, bool], ...]  # bits whose rounding is recorded: index in order of coding, and whether up
    checks: tuple[int, ...]  # CRC-16 of each packet's codes; in version 1 one of all of them
    packets: tuple[bytes | None, ...]  # None: lost
    scale: int = ONE  # of the prior's logits, in 16ths
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """The file's bytes. CodecError where a side of the grid exceeds LARGEST."""
        if max(self.grid) > LARGEST:
            raise CodecError(f"{' x '.join(map(str, self.grid))} places: a file holds at most {LARGEST:,} along an axis")
        prior, axes = self.coder == 2, b"" if len(self.grid) == 2 else varint(len(self.grid))
        version = OF_ANY_AXES if axes else VERSION
        head = MAGIC + bytes([version, self.coder + prior * 4 * self.scale]) + self.tokenizer + self.model + axes
        head += b"".join(map(varint, (*self.grid, self.bits, len(self.packets), *(len(p) for p in self.packets))))
        head += b"".join(binascii.crc_hqx(p, 0).to_bytes(2) for p in self.packets)
        head += b"".join(check.to_bytes(2) for check in self.checks)
        before, deltas = 0, []
        for index, up in self.exceptions:
            deltas.append(varint(2 * (index - before) + up))
            before = index
        head += varint(len(self.exceptions)) + b"".join(deltas)
        return head + binascii.crc32(head).to_bytes(4) + b"".join(self.packets)

    @staticmethod
    def from_bytes(data: bytes, restore: bool = False) -> Container:
        """Parses a file. CodecError where it is no such file, or damaged. restore: packets that are damaged or lost are None instead, and
        packets that were shifted by lost or inserted bytes are found by their checksums.
        """
        reader = Reader(bytes(data))
        if reader.take(3, "the name of the format") != MAGIC:
            raise CodecError("no file of 'bitmosaic compress': it does not begin with 'bmc'")
        version, coder = reader.take(1, "the version")[0], reader.take(1, "the coder")[0]
        if not 1 <= version <= OF_ANY_AXES:
            raise CodecError(f"version {version} of the format; this program reads versions 1 to {OF_ANY_AXES}")
        coder, scale = (coder % 4, coder // 4) if version > 1 else (coder, 0)
        if coder > 2 or (version > 1 and (coder == 2) != bool(scale)):
            raise CodecError(f"coder {coder} with logits times {scale} / 16, which this program does not know")
        tokenizer, model = reader.take(4, "the tokenizer"), reader.take(4, "the model") if coder else b""
        axes = reader.number("the axes", MOST_AXES) if version == OF_ANY_AXES else 2
        grid = tuple(reader.number("the sizes", LARGEST) for _ in range(axes))
        bits, count = (reader.number("the sizes", LARGEST) for _ in range(2))
        places = math.prod(grid)
        if not (grid and places and bits and 0 < count <= places) or (version == OF_ANY_AXES and axes == 2):
            raise CodecError(f"{' x '.join(map(str, grid))} places of {bits} bits in {count} packets, which is no valid header")
        lengths = [reader.number("the packets' lengths", 2**40) for _ in range(count)]
        sums = reader.checks(count, "the packets' checksums")
        checks = reader.checks(count, "the checks of the codes") if version > 1 else ()
        exceptions, index = [], 0
        for _ in range(reader.number("the roundings", places * bits)):
            number = reader.number("the roundings", 2**40)
            index += number // 2
            exceptions.append((index, bool(number % 2)))
        checks = checks or reader.checks(1, "the check of the codes")
        head = reader.data[: reader.at]
        if binascii.crc32(head) != int.from_bytes(reader.take(4, "the checksum")):
            raise CodecError("the header is damaged: its checksum does not match")
        packets = (_found if restore else _whole)(reader.data[reader.at :], lengths, sums)
        return Container(
            coder, tokenizer, model, grid, bits, tuple(exceptions), checks, packets, scale or ONE, version
        )  # fmt: skip


def _whole(body: bytes, lengths: list[int], sums: tuple[int, ...]) -> tuple[bytes, ...]:
    """The packets of a complete body; CodecError where it is not complete."""
    if len(body) != sum(lengths):
        how = "cut short, or bytes of it are lost" if len(body) < sum(lengths) else "too long"
        raise CodecError(f"{how}: {len(body)} bytes of packets, want {sum(lengths)}; restore takes the packets that are whole")
    packets = tuple(body[end - length : end] for length, end in zip(lengths, accumulate(lengths), strict=True))
    for number, (packet, crc) in enumerate(zip(packets, sums, strict=True), 1):
        if binascii.crc_hqx(packet, 0) != crc:
            raise CodecError(f"packet {number} of {len(sums)} is damaged: its checksum does not match; restore can do without it")
    return packets


def _found(body: bytes, lengths: list[int], sums: tuple[int, ...]) -> tuple[bytes | None, ...]:
    """Packets that are found anywhere in a body, None for the others: first at their offset from its start or end, else at the nearest
    offset with the right checksum. A chance match, about once in 2^16 bytes, fails the checksum of its codes later.
    """
    packets, moved, left = [], len(body) - sum(lengths), MOST_LOOKED_AT
    places: dict[int, dict[int, list[int]]] = {}  # by length, by checksum: offsets of such bytes
    for length, end, crc in zip(lengths, accumulate(lengths), sums, strict=True):
        start, last = end - length, len(body) - length
        usual = [at for at in (start, start + moved) if 0 <= at <= last]
        at = next((at for at in usual if binascii.crc_hqx(body[at : at + length], 0) == crc), None)
        if at is None and length not in places and 0 <= (last + 1) * (length + 100) <= left:
            left -= (last + 1) * (length + 100)
            places[length] = _by_checksum(body, length)
        if at is None:
            there = places.get(length, {}).get(crc, ())
            at = min(there, key=lambda i: min(abs(i - start), abs(i - start - moved)), default=None)
        packets.append(None if at is None else body[at : at + length])
    return tuple(packets)


def _by_checksum(body: bytes, length: int) -> dict[int, list[int]]:
    """Offsets of all substrings of one length, by checksum."""
    found: dict[int, list[int]] = {}
    for start in range(len(body) - length + 1):
        found.setdefault(binascii.crc_hqx(body[start : start + length], 0), []).append(start)
    return found


class Reader:
    """Reads bytes from the start; CodecError at their end."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int, what: str) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise CodecError(f"cut short: it ends before {what}, after {len(self.data)} bytes")
        self.at += count
        return found

    def checks(self, count: int, what: str) -> tuple[int, ...]:
        """`count` checksums of two bytes each."""
        return tuple(int.from_bytes(self.take(2, what)) for _ in range(count))

    def number(self, what: str, most: int) -> int:
        """A varint of at most `most`; CodecError for a larger or a longer one."""
        value = 0
        for shift in range(0, 42, 7):
            byte = self.take(1, what)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if value > most or (byte == 0 and shift):
                    break
                return value
        raise CodecError(f"{what}: a number above {most}, or in more bytes than it needs")


def varint(value: int) -> bytes:
    """Bytes of a non-negative integer: seven bits a byte, low ones first, the high bit set where more follow."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
