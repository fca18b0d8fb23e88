"""Bits and their probabilities <-> bytes, by the range coder of constriction (Bamler, arXiv 2201.01741).

We differ in keeping only the bytes that decoding needs, zeros after them: constriction writes 32-bit words, which wastes 2 %.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType

import numpy as np

from bitmosaic.codec.base import CodecError


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise ValueError("compressing needs constriction; install it with: pip install 'bitmosaic[codec]'") from None
    return constriction


def encoded(bits: np.ndarray, p: np.ndarray) -> bytes:
    """Bytes of bits (n,) whose P(bit = 1) is p (n,), multiples of 2^-16: at most about one byte above the ideal length."""
    stream = _constriction().stream
    encoder, bits = stream.queue.RangeEncoder(), np.ascontiguousarray(bits, np.int32)
    if not len(bits):
        return b""
    encoder.encode(bits, stream.model.Bernoulli(perfect=False), np.ascontiguousarray(p))
    whole = encoder.get_compressed().astype(">u4").tobytes()
    for count in range(max(0, len(whole) - 8), len(whole)):  # any number in the last interval decodes alike; 8 bytes: two words
        for up in (0, 1):
            number = int.from_bytes(whole[:count]) + up
            if number < 256**count or not number:
                shorter = number.to_bytes(count).rstrip(b"\0")
                with suppress(CodecError):
                    if np.array_equal(RangeDecoder(shorter)(p), bits):
                        return shorter
    return whole


class RangeDecoder:
    """Decodes bits, one group after another."""

    def __init__(self, data: bytes):
        stream = _constriction().stream
        padded = np.frombuffer(data + bytes(-len(data) % 4 + 8), ">u4").astype(np.uint32)
        self.decoder, self.model = stream.queue.RangeDecoder(padded), stream.model.Bernoulli(perfect=False)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """The next bits, (n,) int32, that were encoded with probabilities p (n,). CodecError where no encoder wrote the bytes so."""
        if not len(p):
            return np.zeros(0, np.int32)
        try:
            return self.decoder.decode(self.model, np.ascontiguousarray(p))
        except AssertionError as error:
            raise CodecError("a packet holds no codes of these probabilities") from error
