"""The contract of tokenizers: images to codes and back, held against every tokenizer that there is."""

import pytest
import torch
from parts import draw, inhabitants, named, nothing_drawn_globally, random_codes, shaken

from bitmosaic.codes import Codes
from bitmosaic.tokenizers.base import Tokenizer

TOKENIZERS = inhabitants("tokenizers", Tokenizer)
tokenizers = pytest.mark.parametrize("kind", **named(TOKENIZERS))


def tokenizer_and_images(kind, high=1, wide=1, batch=3):
    tokenizer = shaken(kind().build())
    height, width = tokenizer.image_size
    return tokenizer, draw(7, batch, tokenizer.channels, high * height, wide * width).sigmoid()


@tokenizers
@pytest.mark.parametrize("high, wide", [(1, 1), (2, 1), (1, 3)])
@torch.no_grad()
def test_tokenizer_takes_any_sides_its_factor_divides(kind, high, wide):
    tokenizer, images = tokenizer_and_images(kind, high, wide)
    codes = tokenizer.encode(images)
    assert codes.radix == tokenizer.radix and len(codes.check()) == len(images)
    assert codes.grid == (images.shape[2] // tokenizer.factor, images.shape[3] // tokenizer.factor)
    made = tokenizer.decode(codes)
    assert made.shape == images.shape and made.isfinite().all() and 0 <= made.min() and made.max() <= 1


@tokenizers
@torch.no_grad()
def test_tokenizer_output_is_finite_for_any_picture_and_any_codes(kind):
    tokenizer, images = tokenizer_and_images(kind)
    for picture in (torch.zeros_like(images), torch.ones_like(images), images.round()):
        assert tokenizer.decode(tokenizer.encode(picture).check()).isfinite().all()
    grid = tokenizer.encode(images).grid
    assert tokenizer.decode(random_codes(grid, tokenizer.radix, 2)).isfinite().all()
    assert tokenizer.decode(Codes(torch.zeros(1, *grid, len(tokenizer.radix), dtype=torch.uint8), tokenizer.radix)).isfinite().all()


@tokenizers
def test_tokenizer_refuses_images_that_do_not_fit(kind):
    tokenizer, images = tokenizer_and_images(kind)
    channels, factor = tokenizer.channels, tokenizer.factor
    for wrong in (images.repeat(1, 2, 1, 1), images[0], (images * 255).to(torch.uint8), images[:, :0]):
        with pytest.raises(ValueError, match=rf"images: got torch\.\w+ .*want floats in \[0, 1\], \(batch, {channels}, "):
            tokenizer.encode(wrong)
    for wrong in (images[..., :0, :], images[..., :0]) + ((images[..., 1:, :], images[..., 1:]) if factor > 1 else ()):
        with pytest.raises(ValueError, match=rf"images: sides \(.*\) are not divisible by .*{factor}"):
            tokenizer.encode(wrong)


@tokenizers
def test_tokenizer_refuses_another_ones_codes(kind):
    tokenizer, _ = tokenizer_and_images(kind)
    radix = tokenizer.radix
    for grid, wrong in (
        ((4, 4), (*radix, 2)),
        ((4, 4), (3, *radix[1:]) if radix[0] == 2 else (2, *radix[1:])),
        ((16,), radix),
    ):
        with pytest.raises(ValueError, match="codes: "):
            tokenizer.decode(random_codes(grid, wrong, 1))


@tokenizers
@torch.no_grad()
def test_tokenizer_does_not_depend_on_the_batch(kind):
    tokenizer, images = tokenizer_and_images(kind, batch=4)
    codes, order = tokenizer.encode(images), [2, 0, 3, 1]
    made = tokenizer.decode(codes)
    assert torch.equal(tokenizer.encode(images[order]).digits, codes.digits[order])
    torch.testing.assert_close(tokenizer.decode(codes[order]), made[order], rtol=0, atol=1e-4)
    for i in range(4):
        assert torch.equal(tokenizer.encode(images[i : i + 1]).digits, codes[i].digits)
        torch.testing.assert_close(tokenizer.decode(codes[i]), made[i : i + 1], rtol=0, atol=1e-4)


@tokenizers
@torch.no_grad()
def test_tokenizer_state_round_trips_and_draws_nothing(kind):
    tokenizer, images = tokenizer_and_images(kind)
    other = shaken(kind().build(), seed=1)
    before = torch.get_rng_state()
    codes = tokenizer.encode(images)
    assert len(codes.digits.unique()) > 1 and not torch.equal(other.encode(images).digits, codes.digits)
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other.encode(images).digits, codes.digits) and torch.equal(other.decode(codes), tokenizer.decode(codes))
    nothing_drawn_globally(before)
