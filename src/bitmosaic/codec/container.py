"""The file: a header that says all a decoder must know, then packets.

    bytes       what
    4           "bmc" and the version, 1
    1           coder: 0 uniform, 1 static, 2 prior
    4           fingerprint of the tokenizer
    4           fingerprint of the coder's probabilities; not there for uniform
    varints     sides of the grid (2), bits of a place, packets
    varints     for each packet: bytes
    2 each      for each packet: CRC-16 of its bytes
    varints     bits whose rounding is written down: how many; for each 2 x (how far after the one before) + (1: rounded up)
    2           CRC-16 of the packed codes
    4           CRC-32 of all the above
    rest        packets

Numbers of several bytes are big-endian, varints have seven bits a byte, low ones first. docs/codec.md has an example.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from bitmosaic.codec.base import CodecError

MAGIC = b"bmc\x01"
LARGEST = 2**16  # places along a side, bits of a place, packets: no honest file has more


@dataclass(frozen=True)
class Container:
    """One image."""

    coder: int
    tokenizer: bytes  # 4
    model: bytes  # 4, or none
    grid: tuple[int, int]
    bits: int
    exceptions: tuple[tuple[int, bool], ...]  # bits whose rounding is written down: their number in order of coding, and whether up
    check: int  # CRC-16 of the packed codes
    packets: tuple[bytes | None, ...]  # None: lost

    def to_bytes(self) -> bytes:
        """The file."""
        head = MAGIC + bytes([self.coder]) + self.tokenizer + self.model
        head += b"".join(map(varint, (*self.grid, self.bits, len(self.packets), *(len(p) for p in self.packets))))
        head += b"".join(binascii.crc_hqx(p, 0).to_bytes(2) for p in self.packets)
        before, deltas = 0, []
        for index, up in self.exceptions:
            deltas.append(varint(2 * (index - before) + up))
            before = index
        head += varint(len(self.exceptions)) + b"".join(deltas) + self.check.to_bytes(2)
        return head + binascii.crc32(head).to_bytes(4) + b"".join(self.packets)

    @staticmethod
    def from_bytes(data: bytes, restore: bool = False) -> Container:
        """What a file says. CodecError where it is none, or damaged; `restore`: damaged and missing packets are None instead."""
        reader = Reader(bytes(data))
        if reader.take(3, "the name of the format") != MAGIC[:3]:
            raise CodecError("no file of 'bitmosaic compress': it does not begin with 'bmc'")
        version, coder = reader.take(1, "the version")[0], reader.take(1, "the coder")[0]
        if version != MAGIC[3]:
            raise CodecError(f"version {version} of the format; this program reads version {MAGIC[3]}")
        if coder > 2:
            raise CodecError(f"coder {coder}, which this program does not know")
        tokenizer, model = reader.take(4, "the tokenizer"), reader.take(4, "the model") if coder else b""
        rows, columns, bits, count = (reader.number("the sizes", LARGEST) for _ in range(4))
        if not (rows and columns and bits and 0 < count <= rows * columns):
            raise CodecError(f"{rows} x {columns} places of {bits} bits in {count} packets, which cannot be")
        lengths = [reader.number("the packets' lengths", 2**40) for _ in range(count)]
        sums = [int.from_bytes(reader.take(2, "the packets' checksums")) for _ in range(count)]
        exceptions, index = [], 0
        for _ in range(reader.number("the roundings", rows * columns * bits)):
            number = reader.number("the roundings", 2**40)
            index += number // 2
            exceptions.append((index, bool(number % 2)))
        check = int.from_bytes(reader.take(2, "the checksum of the codes"))
        head = reader.data[: reader.at]
        if binascii.crc32(head) != int.from_bytes(reader.take(4, "the checksum")):
            raise CodecError("the header is damaged: its checksum is another one")
        rest = reader.data[reader.at :]
        if not restore and len(rest) != sum(lengths):
            how = "cut short" if len(rest) < sum(lengths) else "too long"
            raise CodecError(f"{how}: {len(rest)} bytes of packets, want {sum(lengths)}")
        packets, start = [], 0
        for length, crc in zip(lengths, sums, strict=True):
            packet, start = rest[start : start + length], start + length
            packets.append(packet if len(packet) == length and binascii.crc_hqx(packet, 0) == crc else None)
        if None in packets and not restore:
            raise CodecError(f"packet {packets.index(None) + 1} of {count} is damaged: its checksum is another one; restore can do without")
        return Container(coder, tokenizer, model, (rows, columns), bits, tuple(exceptions), check, tuple(packets))


class Reader:
    """Reads from the start of some bytes; CodecError at their end."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, count: int, what: str) -> bytes:
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise CodecError(f"cut short: it ends before {what}, after {len(self.data)} bytes")
        self.at += count
        return found

    def number(self, what: str, most: int) -> int:
        """A varint of at most `most`."""
        value = 0
        for shift in range(0, 42, 7):
            byte = self.take(1, what)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                if value > most or (byte == 0 and shift):
                    break
                return value
        raise CodecError(f"{what} cannot be: more than {most}, or written in more bytes than needed")


def varint(value: int) -> bytes:
    """Seven bits a byte, low ones first, the high bit where more follow."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
