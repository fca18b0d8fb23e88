"""A shuffled order of any length that takes no memory: a Feistel network over [0, n), by cycle walking (Black and Rogaway, CT-RSA 2002).

The network permutes [0, 2^b), the smallest such set that holds n, as two halves that may differ by a bit; a place mapped outside
[0, n) is mapped again until it lands inside, which it must since the network is a permutation. We differ in the round function, the
finalizer of splitmix64, which is not a cipher: the order shall look random, not be secret.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


class Shuffle:
    """The order in which an epoch visits n images, a permutation of [0, n) that depends on seed and epoch alone."""

    def __init__(self, n: int, seed: int, epoch: int):
        if not 0 < n < 2**62:
            raise ValueError(f"n: got {n}; want at least 1 and less than 2^62")
        self.n = n
        bits = max(2, (n - 1).bit_length())  # b
        self.low = np.uint64(bits // 2)  # bits of the lower half
        self.masks = np.uint64(2 ** (bits - bits // 2) - 1), np.uint64(2 ** (bits // 2) - 1)
        self.keys = np.frombuffer(hashlib.sha512(f"shuffle {seed} {epoch}".encode()).digest(), "<u8").reshape(4, 2)  # of eight rounds

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, places: Tensor) -> Tensor:
        """Who is visited at these places of the order: integers in [0, n) -> int64 of the same shape. ValueError outside [0, n)."""
        x = places.numpy().astype(np.uint64).ravel()
        if len(x) and int(x.max()) >= self.n:
            raise ValueError(f"places: got {int(places.min())} to {int(places.max())}; want [0, {self.n})")
        x = self._once(x)
        while len(outside := np.flatnonzero(x >= self.n)):
            x[outside] = self._once(x[outside])
        return torch.from_numpy(x.astype(np.int64)).view(places.shape)

    def _once(self, x: np.ndarray) -> np.ndarray:
        (upper, lower), high, low = self.masks, x >> self.low, x & self.masks[1]
        for one, other in self.keys:
            high = high ^ _mixed(low + one) & upper
            low = low ^ _mixed(high + other) & lower
        return high << self.low | low


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64, (n,) uint64."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
