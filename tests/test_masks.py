"""Masks and code lengths, on which editing stands."""

import itertools

import numpy as np
import pytest
import torch
from parts import random_codes, shaken
from PIL import Image
from test_editing import SIZE, hole

from bitmosaic import Codes
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.images import crop_mask, places_of, read_mask, spread
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.likelihood import code_length
from bitmosaic.priors.masked import MaskedPriorSpec

# ---- masks


def test_masks_of_every_kind_are_one_mask():
    wanted = hole(4, 8, 12, 20)
    picture = Image.fromarray((wanted.numpy() * 255).astype(np.uint8))
    places = [(row, column) for row in (2, 3, 4) for column in (1, 2)]
    kinds = (wanted, wanted.numpy(), picture, picture.convert("RGB"), picture.convert("1"), wanted.float(), wanted.byte() * 255)
    kinds += (wanted[None], wanted.numpy()[..., None], wanted.numpy()[::-1].copy()[::-1], wanted.float()[None])
    for mask in (*kinds, (4, 8, 12, 20), [4, 8, 12, 20], places, [list(p) for p in places]):
        assert torch.equal(read_mask(mask, SIZE, 4), wanted)
    assert not read_mask([], SIZE, 4).any()
    grey = torch.tensor([[127, 128]], dtype=torch.uint8)
    assert read_mask(grey, (1, 2), 1).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "mask, said",
    [
        (torch.zeros(27, 28, dtype=torch.bool), "28 x 27 pixels for an image of 28 x 28"),
        (Image.new("L", (5, 6)), "5 x 6 pixels for an image of 28 x 28"),
        ((4, 4, 4, 9), "want left < right"),
        ((0, 0, 29, 9), "want left < right"),
        ((-1, 0, 5, 9), "want left < right"),
        ([(7, 0)], "rows are 0 to 6"),
        ([(0, 7)], "columns 0 to 6"),
        ([1, 2, 3], "give a picture, a box"),
        ([(1, 2.5)], "give a picture, a box"),
        ("no-such-file.png", "mask: cannot read no-such-file.png: there is no such file"),
        (3, "mask: got a int; give a path"),
        (None, "mask: got a NoneType"),
        (Image.new("RGBA", SIZE), "it has transparency"),
        (Image.new("LA", SIZE), "it has transparency"),
        (np.zeros((28, 28, 4), dtype=np.uint8), "it has transparency"),
        (torch.ones(28, 28, dtype=torch.uint8), "whole numbers of 0 and 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, said):
    with pytest.raises(ValueError, match=said):
        read_mask(mask, SIZE, 4)


def test_a_place_with_one_repainted_pixel_is_hidden():
    for row, column in itertools.product((0, 3, 4, 27), (0, 5, 27)):
        mask = torch.zeros(SIZE, dtype=torch.bool)
        mask[row, column] = True
        places = places_of(mask, 4)
        assert places.shape == (7, 7) and places.sum() == 1 and places[row // 4, column // 4]


@pytest.mark.parametrize("size", [(2800, 2800), (1000, 4000), (14, 14), (29, 31)])
def test_a_speck_survives_the_crop_that_its_image_takes(size):
    """The pixel that shows the speck in the cropped image is in the cropped mask; what the crop leaves out is not."""
    picture, mask = np.zeros(size, dtype=np.uint8), torch.zeros(size, dtype=torch.bool)
    row, column = size[0] // 2 - 3, size[1] // 2 + 4
    picture[row, column], mask[row, column] = 255, True
    found = crop_mask(mask, SIZE)
    assert found.shape == SIZE and 1 <= found.sum() <= 18**2
    nothing = torch.zeros(size, dtype=torch.bool)
    assert not crop_mask(nothing, SIZE).any() and crop_mask(~nothing, SIZE).all()
    y, x = found.nonzero().float().mean(0)
    scale = max(28 / size[0], 28 / size[1])
    assert abs(y - (28 / 2 - 2.5 * scale - 0.5)) < 1.6 * max(1, scale) and abs(x - (28 / 2 + 4.5 * scale - 0.5)) < 1.6 * max(1, scale)


def test_spread_continues_what_is_known_and_forgets_the_rest():
    rng = torch.Generator().manual_seed(0)
    known = ~hole(6, 6, 21, 15)
    flat, rings = spread(torch.where(known, 0.25, torch.rand(1, 1, *SIZE, generator=rng)), known)
    assert torch.allclose(flat, torch.full_like(flat, 0.25))
    assert rings[known].eq(0).all() and rings[~known].min() == 1 and rings.max() == 5  # half of the hole's nine rows
    values = torch.rand(2, 3, *SIZE, generator=rng)
    near, rings = spread(values, known, most=2)
    assert torch.equal(near[..., known], values[..., known]) and rings.max() == 2
    assert near[..., ~known & (rings == 0)].eq(0).all() and near[..., rings == 2].ne(0).all()
    nothing, rings = spread(values, torch.zeros(SIZE, dtype=torch.bool))
    assert nothing.eq(0).all() and rings.eq(0).all()


# ---- code lengths


@pytest.mark.parametrize("known", [[False, False], [True, False]])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_code_lengths_are_of_a_law(rounds, known):
    """2^-length sums to one over all codes of the hidden places."""
    spec = MaskedPriorSpec((1, 2), 3, depth=1, heads=1, width=8, condition=ClassConditionSpec(3), head=BernoulliDiffusionSpec(8, 1, 16))
    prior = shaken(spec.build(), std=0.5)
    digits = torch.tensor(list(itertools.product((0, 1), repeat=6)), dtype=torch.uint8).view(-1, 1, 2, 3)
    digits = digits[digits[:, 0, 0].sum(1) == 0] if known[0] else digits
    lengths = code_length(
        prior, Codes(digits, (2,) * 3), torch.tensor([[known]]).expand(len(digits), -1, -1), torch.full((len(digits),), 1),
        torch.Generator().manual_seed(0), rounds,
    )  # fmt: skip
    assert lengths.shape == (len(digits),) and lengths.std() > 0.1
    assert abs(float((2.0**-lengths.double()).sum()) - 1) < 1e-4


def test_code_lengths_depend_on_no_other_image_and_know_what_is_known():
    prior = shaken(MaskedPriorSpec().build())
    codes = random_codes(prior.grid, prior.radix, 3)
    known = torch.rand(3, *prior.grid, generator=torch.Generator().manual_seed(1)) < torch.tensor([0.2, 0.9, 0.5])[:, None, None]
    labels = torch.tensor([0, 1, 2])

    def lengths(*images):
        images = torch.tensor(images)
        return code_length(prior, codes[images], known[images], labels[images], torch.Generator().manual_seed(0))

    assert torch.allclose(lengths(0, 1, 2), torch.cat([lengths(0), lengths(1), lengths(2)]), rtol=1e-4)
    assert code_length(prior, codes, torch.ones_like(known), labels, torch.Generator().manual_seed(0)).eq(0).all()
    with pytest.raises(ValueError, match="rounds: got 0"):
        code_length(prior, codes, known, labels, torch.Generator(), 0)
