"""Codes: digits survive packing for every kind of radix, and what is no code is refused with its reason."""

import math

import numpy as np
import pytest
import torch

from bitmosaic.codes import Codes, digit_dtype, digit_widths

KINDS = {
    "binary": (2,) * 24,
    "odd bits": (2,) * 5,
    "fsq": (8, 5, 5, 5),
    "ternary": (3, 3, 3),
    "index": (16384,),
    "odd index": (1000,),
    "residual": (1024,) * 8,
    "mixed": (2, 300, 7, 65536),
    "wide": (2**31,),
}
kinds = pytest.mark.parametrize("radix", KINDS.values(), ids=KINDS)


def random_codes(radix, grid=(4, 3), batch=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Codes(torch.stack([torch.randint(r, (batch, *grid), generator=rng) for r in radix], -1), radix)


def same(a, b):
    return a.radix == b.radix and a.digits.dtype == b.digits.dtype and torch.equal(a.digits, b.digits)


@kinds
@pytest.mark.parametrize("grid", [(), (1,), (7,), (4, 3), (2, 3, 2)])
def test_unpack_undoes_pack(radix, grid):
    codes = random_codes(radix, grid)
    assert codes.grid == grid and codes.places == math.prod(grid)
    assert same(Codes.unpack(codes.pack(), grid, radix), codes)


@kinds
def test_the_extreme_digits_survive(radix):
    ends = torch.stack([torch.zeros(len(radix), dtype=torch.int64), torch.tensor(radix) - 1])[:, None, None]
    codes = Codes(ends, radix).check()
    assert same(Codes.unpack(codes.pack(), (1, 1), radix), codes)
    assert codes.digits.flatten(1).tolist() == [[0] * len(radix), [r - 1 for r in radix]]


@kinds
def test_packed_bytes_are_the_bits_rounded_up(radix):
    packed = random_codes(radix).pack()
    bits = 12 * sum(math.ceil(math.log2(r)) for r in radix)
    assert packed.dtype == np.uint8 and packed.shape == (3, math.ceil(bits / 8))


def test_256_places_of_24_bits_are_768_bytes():
    codes = random_codes((2,) * 24, (16, 16), batch=2)
    assert codes.pack().shape == (2, 768) and codes.bits_per_image == 6144


def test_packing_is_raster_order_most_significant_bit_first():
    codes = Codes(torch.tensor([[[[5, 1], [2, 0]]]]), (6, 2))  # 101 1, 010 0
    assert codes.pack().tolist() == [[0b10110100]]
    bits = Codes(torch.tensor([[[[1, 0]], [[0, 1]]]]), (2, 2))  # four bits, then zeros up to the byte
    assert bits.pack().tolist() == [[0b10010000]]


def test_bits_of_an_image_need_not_be_whole():
    assert random_codes((8, 5, 5, 5)).bits_per_image == pytest.approx(12 * (3 + 3 * math.log2(5)))


@kinds
def test_no_images_are_codes_too(radix):
    codes = random_codes(radix)[:0]
    assert len(codes) == 0 and codes.pack().shape[0] == 0
    assert same(Codes.unpack(codes.pack(), codes.grid, radix), codes)


def test_unpack_reads_a_memory_map(tmp_path):
    codes = random_codes((2,) * 24, (4, 4), batch=5)
    np.save(tmp_path / "codes.npy", codes.pack())
    held = np.load(tmp_path / "codes.npy", mmap_mode="r")
    assert same(Codes.unpack(held[1:4], (4, 4), codes.radix), codes[1:4])
    assert same(Codes.unpack(held[[4, 0, 4]], (4, 4), codes.radix), codes[[4, 0, 4]])


@pytest.mark.parametrize(
    "largest, dtype",
    [
        (2, torch.uint8),
        (256, torch.uint8),
        (257, torch.int16),
        (2**15, torch.int16),
        (2**15 + 1, torch.int32),
        (2**31, torch.int32),
        (2**31 + 1, torch.int64),
    ],
)
def test_digits_take_the_smallest_integers_that_hold_the_radix(largest, dtype):
    assert digit_dtype((2, largest)) == dtype
    codes = Codes(torch.tensor([[[1, largest - 1]]]), (2, largest))
    assert codes.digits.dtype == dtype and codes.digits[0, 0, 1] == largest - 1


def test_widths_of_digits():
    assert digit_widths((2, 3, 4, 5, 16384, 16385)) == [1, 2, 2, 3, 14, 15]


def test_booleans_are_bits():
    assert same(Codes(torch.tensor([[[True, False]]]), (2, 2)), Codes(torch.tensor([[[1, 0]]]), (2, 2)))


@kinds
@pytest.mark.parametrize("grid", [(), (5,), (4, 3), (2, 2, 2)])
def test_flat_is_raster_order(radix, grid):
    codes = random_codes(radix, grid)
    assert torch.equal(codes.flat(), codes.digits.reshape(3, -1, len(radix)))


def test_some_images_keep_the_batch_axis():
    codes = random_codes((5, 7))
    assert len(codes) == 3
    for item, kept in [
        (0, [0]),
        (2, [2]),
        (-1, [2]),
        (-3, [0]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
    ]:
        assert torch.equal(codes[item].digits, codes.digits[kept]) and codes[item].radix == codes.radix
    assert torch.equal(codes[np.int64(1)].digits, codes.digits[[1]])
    assert torch.equal(codes[np.array([2, 0])].digits, codes.digits[[2, 0]])
    assert torch.equal(codes[torch.tensor([2, 0])].digits, codes.digits[[2, 0]])


def test_iterating_ends():
    """Python iterates by item 0, 1, .. until an IndexError, so one past the end must be one."""
    codes = random_codes((5, 7))
    for outside in (3, -4):
        with pytest.raises(IndexError):
            codes[outside]
    assert [image.digits.tolist() for image in codes] == [codes.digits[i : i + 1].tolist() for i in range(3)]


@pytest.mark.parametrize(
    "digits, radix, said",
    [
        (torch.zeros(1, 2, 2, 3), (2, 2, 2), r"digits: got torch\.float32"),
        (torch.zeros(1, 2, 2, 3, dtype=torch.complex64), (2, 2, 2), r"digits: got torch\.complex64"),
        (torch.zeros(1, 2, 2, 3, dtype=torch.uint8), (2, 2), r"digits: shape \(1, 2, 2, 3\) .* 2 digits"),
        (torch.zeros(3, dtype=torch.uint8), (2, 2, 2), r"digits: shape \(3,\)"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.uint8), (2, 1), r"radix: got \(2, 1\)"),
        (torch.zeros(1, 2, 2, 0, dtype=torch.uint8), (), r"radix: got \(\)"),
    ],
)
def test_what_is_no_code_is_refused(digits, radix, said):
    with pytest.raises(ValueError, match=said):
        Codes(digits, radix)


@pytest.mark.parametrize(
    "radix, at, digit",
    [
        ((5, 2), (0, 0, 1, 0), 5),
        ((5, 2), (2, 3, 2, 1), 2),
        ((5, 2), (1, 1, 1, 1), -1),
        ((2, 2), (0, 0, 0, 0), 256),
        ((2, 2), (0, 0, 0, 1), -255),
        ((1000, 2), (1, 0, 0, 0), 65536 + 999),
    ],
)
def test_check_names_the_first_digit_outside(radix, at, digit):
    """Also where the narrow type in which digits are kept would wrap the digit round to one that is allowed."""
    digits = torch.zeros(3, 4, 3, 2, dtype=torch.int64)
    Codes(digits, radix).check()
    digits[at] = digit
    place = ", ".join(map(str, at))
    with pytest.raises(ValueError, match=rf"digits: .* at \({place}\) is outside \[0, {radix[at[-1]]}\)"):
        Codes(digits, radix).check()


def test_check_returns_the_codes():
    codes = random_codes((5, 7))
    assert codes.check() is codes


@pytest.mark.parametrize(
    "packed",
    [
        np.zeros((2, 5), np.uint8),
        np.zeros((2, 7), np.uint8),
        np.zeros((2, 6), np.int64),
        np.zeros(6, np.uint8),
        np.zeros((1, 2, 6), np.uint8),
    ],
)
def test_bytes_that_do_not_fit_are_refused(packed):
    with pytest.raises(ValueError, match=r"packed: got .*48 bits an image need uint8 \(batch, 6\)"):
        Codes.unpack(packed, (4, 3), (8, 2))


def test_to_keeps_what_codes_are():
    codes = random_codes((5, 300))
    assert same(codes.to("cpu"), codes) and codes.to("meta").digits.device.type == "meta"
