"""The base class of coders, which visit the bits of an image in a fixed order and give P(bit = 1 | the bits before)."""

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

STEP = 4  # levels a nat: probabilities are sigmoid(level / 4) of integer levels, which costs 0.0005 bits a bit
LIMIT = 40  # the largest level, at which the likelier value of a bit costs 0.00007 bits
ONE = 16  # the scale 1: scales of logits are integers, in 16ths


class CodecError(ValueError):
    """Bytes that are not a compressed file, are damaged, or belong to another pipeline."""


@dataclass(frozen=True)
class Ask:
    """The bits that are coded next, for all images of a batch at once."""

    packet: int  # that they belong to
    places: Tensor  # (g,) indices in raster order of the grid
    columns: Tensor  # (b, g, c) which bits of each place
    levels: Tensor  # (b, g, c) float64: STEP times the logits that they are 1, to be rounded


class Coder(abc.ABC):
    """Probabilities of the bits of codes (`Codes.bits`).

    Encoder and decoder run the same generator: one sends it the bits it has, the other those it reads.
    """

    name: str
    number: int  # in the container
    sequential: bool  # True: a packet can be read only after all before it
    scale: int = ONE  # of logits, in 16ths; the prior's is fitted

    @abc.abstractmethod
    def fingerprint(self) -> bytes:
        """Four bytes that identify the probabilities; empty where they are fixed."""

    @abc.abstractmethod
    def asks(self, batch: int, grid: tuple[int, ...], bits: int, packets: int) -> Generator[Ask, Tensor, None]:
        """Yields every bit of every place once, packets in order; is sent the bits (b, g, c), uint8, that were asked for."""


def answered(coder: Coder, codes: Codes, packets: int = 1) -> Iterator[tuple[Ask, Tensor]]:
    """Runs a coder over given codes: each Ask with its bits, (b, g, c) uint8."""
    whole = codes.bits().cpu()
    asks = coder.asks(len(codes), codes.grid, whole.shape[-1], packets)
    ask: Ask | None = next(asks)
    while ask is not None:
        bits = whole[:, ask.places].gather(2, ask.columns)
        yield ask, bits
        ask = sent(asks, bits)


def sent(asks: Generator[Ask, Tensor, None], bits: Tensor) -> Ask | None:
    """Sends bits (b, g, c) to a coder's generator; its next Ask, or None after the last."""
    try:
        return asks.send(bits)
    except StopIteration:
        return None


class _Exactly:
    """State of `exactly`, whose settings are of the whole process: the first thread to enter sets them, the last to leave restores them."""

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
    """Inside, networks on a CPU compute in plain float32, whatever autocast, matmul precision and default dtype are outside."""
    _Exactly.enter()
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        _Exactly.leave()


def spread(grid: tuple[int, ...]) -> np.ndarray:
    """An order of all places, (N,) indices in raster order: from the middle on, each place is the farthest from those before it.

    The rim counts as visited, at twice its distance, for it carries least information. Distances are integers and ties go to the first
    place, so the order is the same on any machine.
    """
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid)).astype(np.int64)
    order = [int((np.abs(2 * places - (np.array(grid) - 1)).sum(1)).argmin())]
    rim = 1 + np.minimum(places, np.array(grid) - 1 - places).min(1)  # steps to leave the grid
    nearest = np.minimum(((places - places[order[0]]) ** 2).sum(1), (2 * rim) ** 2)
    nearest[order] = 0
    for _ in range(len(places) - 1):
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((places - places[order[-1]]) ** 2).sum(1))
    return np.array(order)


def packet_of(places: int, packets: int) -> np.ndarray:
    """(places,) the packet of each place in `spread` order; packets hold equally many places, up to one."""
    return np.arange(places) * packets // places


def probabilities() -> np.ndarray:
    """(2 LIMIT + 1,) P(bit = 1) at levels -LIMIT..LIMIT, multiples of 2^-16 in [2^-16, 1 - 2^-16], hence exact on any machine."""
    levels = np.arange(-LIMIT, LIMIT + 1)
    return np.clip(np.rint(2**16 / (1 + np.exp(-levels / STEP))), 1, 2**16 - 1) / 2**16


def in_packet(order: np.ndarray, of: np.ndarray, packet: int) -> Tensor:
    """The places of one packet, as raster indices; `order` as of `spread`, `of` as of `packet_of`."""
    return torch.from_numpy(order[of == packet])


def fingerprint(module: nn.Module) -> bytes:
    """Four bytes of SHA-256 over a part's spec and weights."""
    digest = hashlib.sha256(json.dumps(module.spec.to_json(), sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.digest()[:4]
