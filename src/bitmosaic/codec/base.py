"""What every coder is: it goes through the bits of an image in a fixed order and says how likely each is to be 1, given those before."""

from __future__ import annotations

import abc
import hashlib
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bitmosaic.codes import Codes

STEP = 4  # levels a nat: probabilities are sigmoid(level / 4) with whole levels; that costs 0.0005 bits a bit, more would save little
LIMIT = 40  # the largest level; a bit that is as sure as can be costs 0.00007 bits
ONE = 16  # scales of logits are whole 16ths


class CodecError(ValueError):
    """Bytes that are no file of ours, or not for this pipeline, or damaged."""


@dataclass(frozen=True)
class Ask:
    """Bits that are coded next, of all images of a batch at once."""

    packet: int  # that they belong to
    places: Tensor  # (g,) their numbers in raster order of the grid
    columns: Tensor  # (b, g, c) which bits of each place
    levels: Tensor  # (b, g, c) float64: STEP times the logits that they are 1, to be rounded


class Coder(abc.ABC):
    """Probabilities of the bits of codes (`Codes.bits`).

    Encoder and decoder play the same generator, the one with the bits it has, the other with those it reads.
    """

    name: str
    number: int  # in the container
    sequential: bool  # True: a packet can be read only after all before it
    scale: int = ONE  # of logits, in 16ths; the prior's is fitted

    @abc.abstractmethod
    def fingerprint(self) -> bytes:
        """Four bytes that differ where probabilities do; empty where there is nothing to differ."""

    @abc.abstractmethod
    def asks(self, batch: int, grid: tuple[int, ...], bits: int, packets: int) -> Generator[Ask, Tensor, None]:
        """Yields every bit of every place once, packets in order; is sent the bits (b, g, c), uint8, that were asked for."""


def answered(coder: Coder, codes: Codes, packets: int = 1) -> Iterator[tuple[Ask, Tensor]]:
    """All that a coder asks for of codes that are at hand, with the bits (b, g, c)."""
    whole = codes.bits().cpu()
    asks = coder.asks(len(codes), codes.grid, whole.shape[-1], packets)
    ask: Ask | None = next(asks)
    while ask is not None:
        bits = whole[:, ask.places].gather(2, ask.columns)
        yield ask, bits
        ask = sent(asks, bits)


def sent(asks: Generator[Ask, Tensor, None], bits: Tensor) -> Ask | None:
    """What is asked for next, after these bits; None after the last."""
    try:
        return asks.send(bits)
    except StopIteration:
        return None


class _Exactly:
    """What `exactly` changes is the whole process's, not a thread's: the first to enter changes it, the last to leave changes it back."""

    lock, inside = threading.Lock(), 0

    @classmethod
    def enter(cls) -> None:
        with cls.lock:
            if not cls.inside:
                cls.before = torch.get_default_dtype(), torch.backends.mkldnn.matmul.fp32_precision
                cls.set(torch.float32, "ieee")
            cls.inside += 1

    @classmethod
    def leave(cls) -> None:
        with cls.lock:
            cls.inside -= 1
            if not cls.inside:
                cls.set(*cls.before)

    @staticmethod
    def set(default: torch.dtype, precision: str) -> None:
        if torch.get_default_dtype() != default:
            torch.set_default_dtype(default)
        if torch.backends.mkldnn.matmul.fp32_precision not in (precision, "none"):
            torch.backends.mkldnn.matmul.fp32_precision = precision


@contextmanager
def exactly() -> Iterator[None]:
    """Networks on a CPU compute in float32 in here, whatever autocast, precision of products and default type are outside."""
    _Exactly.enter()
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        _Exactly.leave()


def spread(grid: tuple[int, ...]) -> np.ndarray:
    """All places, each as far as can be from those before it and from the rim, which says least, the first in the middle: indices in
    raster order.

    Distances are whole numbers and ties go to the first place, so the order is the same on any machine.
    """
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid)).astype(np.int64)
    order = [int((np.abs(2 * places - (np.array(grid) - 1)).sum(1)).argmin())]
    rim = 1 + np.minimum(places, np.array(grid) - 1 - places).min(1)  # steps to beyond it
    nearest = np.minimum(((places - places[order[0]]) ** 2).sum(1), (2 * rim) ** 2)
    nearest[order] = 0
    for _ in range(len(places) - 1):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((places - places[order[-1]]) ** 2).sum(1))
    return np.array(order)


def packet_of(places: int, packets: int) -> np.ndarray:
    """The packet of the first, second, ... place in `spread` order: as many places in each, as far as that goes."""
    return np.arange(places) * packets // places


def probabilities() -> np.ndarray:
    """P(bit = 1) at levels -LIMIT..LIMIT, whole 2^-16ths between 2^-16 and 1 - 2^-16: floats that every machine holds alike."""
    levels = np.arange(-LIMIT, LIMIT + 1)
    return np.clip(np.rint(2**16 / (1 + np.exp(-levels / STEP))), 1, 2**16 - 1) / 2**16


def in_packet(order: np.ndarray, of: np.ndarray, packet: int) -> Tensor:
    """The places of one packet."""
    return torch.from_numpy(order[of == packet])


def fingerprint(module: nn.Module) -> bytes:
    """Four bytes of SHA-256 over a part's spec and weights."""
    digest = hashlib.sha256(json.dumps(module.spec.to_json(), sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.digest()[:4]
