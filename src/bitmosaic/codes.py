"""Codes: grids of discrete latents, the one type that crosses rooms.

Binary, FSQ, single-index and residual codes are all digits with a radix; packing turns them into bytes for disk and memory maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

MOST_BITS = 2**16  # of a place that a file may claim: a radix of more takes memory, and no real codes have as many


def on_device(values: Sequence[int] | Sequence[bool], device: torch.device | str) -> Tensor:
    """A 1-D tensor of numbers on `device`, without the synchronisation of `torch.tensor(values, device=device)` on a GPU."""
    return torch.tensor(values).to(device, non_blocking=True)


def digit_dtype(radix: tuple[int, ...]) -> torch.dtype:
    """The smallest integer type that holds every digit below `radix`."""
    largest = max(radix) - 1
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return dtype
    return torch.int64


@dataclass(frozen=True)
class Codes:
    """A grid of discrete latents: every place holds k digits, digit i in [0, radix[i]).

    radix (2,)*24 is a 24-bit binary code, (16384,) a codebook index, (8, 5, 5, 5) an FSQ code, (1024,)*8 a residual code.

    Raises ValueError where `digits` are not integers, do not end in k = len(radix), or where a radix is below 2.
    Digits that come in the smallest type are not compared with the radix, which would synchronise with the device: see `check`.
    """

    digits: Tensor  # (batch, *grid, k), the smallest integer type that holds the radix
    radix: tuple[int, ...]  # (k,)

    def __post_init__(self):
        if self.digits.is_floating_point() or self.digits.is_complex():
            raise ValueError(f"digits: got {self.digits.dtype}; codes are integers or booleans")
        if self.digits.ndim < 2 or self.digits.shape[-1] != len(self.radix):
            raise ValueError(f"digits: shape {tuple(self.digits.shape)} does not end in the {len(self.radix)} digits of the radix")
        if min(self.radix, default=0) < 2:
            raise ValueError(f"radix: got {self.radix}; want at least one digit, each with at least two values")
        dtype = digit_dtype(self.radix)
        if self.digits.dtype != dtype:
            if self.digits.dtype != torch.bool and self.digits.device.type != "meta":
                self.check()  # else a digit too large for the narrower type would wrap around to a valid one
            object.__setattr__(self, "digits", self.digits.to(dtype))

    def __len__(self) -> int:
        return self.digits.shape[0]

    def __getitem__(self, item) -> Codes:
        """The codes of some images; an integer keeps the batch axis."""
        if isinstance(item, Integral):
            item = range(len(self))[item]  # IndexError past the end, which is how Python stops iterating
            item = slice(item, item + 1)
        return Codes(self.digits[item], self.radix)

    @property
    def grid(self) -> tuple[int, ...]:
        """Places along each axis, such as (16, 16)."""
        return tuple(self.digits.shape[1:-1])

    @property
    def places(self) -> int:
        """The number of places in one image."""
        return math.prod(self.grid)

    @property
    def bits_per_image(self) -> float:
        """Bits that one image takes when each digit is coded uniformly."""
        return self.places * sum(math.log2(r) for r in self.radix)

    def flat(self) -> Tensor:
        """Digits with the grid in raster order, (batch, places, k)."""
        return self.digits.flatten(1, -2) if self.digits.ndim > 3 else self.digits.view(len(self), self.places, len(self.radix))

    def to(self, device) -> Codes:
        """The same codes on `device`."""
        return Codes(self.digits.to(device), self.radix)

    def check(self) -> Codes:
        """Self, or a ValueError that names the first digit outside its radix."""
        limit = torch.tensor(self.radix, device=self.digits.device)
        wrong = ((self.digits.long() < 0) | (self.digits.long() >= limit)).nonzero()
        if len(wrong):
            at = tuple(wrong[0].tolist())
            raise ValueError(f"digits: {int(self.digits[at])} at {at} is outside [0, {self.radix[at[-1]]})")
        return self

    def bits(self) -> Tensor:
        """Digits in binary, (batch, places, sum of widths) uint8: places in raster order, the most significant bit of a digit first.

        A digit takes ceil(log2(radix)) bits.
        """
        widths = digit_widths(self.radix)
        if max(widths) == 1:
            return self.flat()
        digits = self.flat()
        shift = on_device([s for w in widths for s in range(w - 1, -1, -1)], digits.device)
        of = on_device([i for i, w in enumerate(widths) for _ in range(w)], digits.device)
        return (digits.to(torch.int64)[..., of] >> shift & 1).to(torch.uint8)

    @staticmethod
    def of_bits(bits: Tensor, grid: tuple[int, ...], radix: tuple[int, ...]) -> Codes:
        """The inverse of `bits`. ValueError where a digit is not below its radix."""
        return Codes(digits_of(bits, radix).view(len(bits), *grid, len(radix)), tuple(radix))

    def pack(self) -> np.ndarray:
        """Bytes of each image, (batch, ceil(bits/8)) uint8: `bits` of one place after another; 256 places of 24 bits are 768 bytes."""
        return np.packbits(self.bits().cpu().flatten(1).numpy(), axis=1)

    @staticmethod
    def unpack(packed: np.ndarray, grid: tuple[int, ...], radix: tuple[int, ...]) -> Codes:
        """The inverse of `pack`. Raises ValueError where the bytes do not fit the grid and radix."""
        widths = digit_widths(radix)
        count = math.prod(grid) * sum(widths)
        if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] != (count + 7) // 8:
            raise ValueError(
                f"packed: got {packed.dtype} {packed.shape}; {count} bits an image need uint8 (batch, {(count + 7) // 8})"
            )
        bits = np.unpackbits(packed, axis=1, count=count).reshape(len(packed), math.prod(grid), sum(widths))
        return Codes.of_bits(torch.from_numpy(bits), grid, radix)


def lengths(codes: Codes, end: int) -> list[int]:
    """The number of places before the first `end`, in raster order, for each signal of codes (batch, *grid, 1); all where there is none."""
    ended = behind_end(codes.flat(), end)
    return (codes.places - ended.sum(1)).tolist()


def behind_end(digits: Tensor, end: int) -> Tensor:
    """(batch, n) bool: True from the first place at which digits (batch, n, 1) hold `end`, and at all places after it."""
    return (digits[..., 0] == end).cummax(1).values


def described(radix: tuple[int, ...]) -> str:
    """What a place holds, in words: '20 bits a place', 'one of 1,024 codewords a place', 'digits below (8, 5, 5) a place'."""
    if set(radix) == {2}:
        return f"{len(radix)} bits a place"
    return f"one of {radix[0]:,} codewords a place" if len(radix) == 1 else f"digits below {radix} a place"


def digit_widths(radix: tuple[int, ...]) -> list[int]:
    """Bits that each digit takes when packed."""
    return [(r - 1).bit_length() for r in radix]


def digits_of(bits: Tensor, radix: tuple[int, ...]) -> Tensor:
    """Bits (..., sum of widths) as of `Codes.bits` -> digits (..., k) int64; not checked: a digit may reach the next power of two.

    Where every digit is one bit, the bits themselves.
    """
    widths = digit_widths(radix)
    if max(widths) == 1:
        return bits
    digits = []
    for own in bits.split(widths, -1):
        value = torch.zeros(bits.shape[:-1], dtype=torch.int64, device=bits.device)
        for bit in own.unbind(-1):
            value = value * 2 + bit
        digits.append(value)
    return torch.stack(digits, -1)
