"""The contract of tokenizers: signals to codes and back, held against every tokenizer that there is."""

import pytest
import torch
from parts import draw, inhabitants, named, nothing_drawn_globally, random_codes, shaken

from bitmosaic.codes import Codes
from bitmosaic.tokenizers.base import Tokenizer

TOKENIZERS = inhabitants("tokenizers", Tokenizer)
tokenizers = pytest.mark.parametrize("kind", **named(TOKENIZERS))


def tokenizer_and_signals(kind, times=(1, 1, 1), batch=3):
    """One with weights that say something, and signals in its medium's range, so many times as large along each axis as it was made for."""
    tokenizer = shaken(kind().build())
    if tokenizer.factors is None:
        times = (1, 1, 1)
    size = [extent * more for extent, more in zip(tokenizer.size, times[-len(tokenizer.size) :], strict=True)]
    low, high = tokenizer.medium.low, tokenizer.medium.high
    return tokenizer, low + (high - low) * draw(7, batch, tokenizer.channels, *size).sigmoid()


@tokenizers
@pytest.mark.parametrize("times", [(1, 1, 1), (1, 2, 1), (2, 1, 3)])
@torch.no_grad()
def test_tokenizer_takes_any_sides_its_factors_divide(kind, times):
    tokenizer, signals = tokenizer_and_signals(kind, times)
    codes = tokenizer.encode(signals)
    assert codes.radix == tokenizer.radix and len(codes.check()) == len(signals)
    if tokenizer.factors is None:
        assert codes.grid == tuple(tokenizer.spec.grid)
    else:
        assert codes.grid == tuple(a // b for a, b in zip(signals.shape[2:], tokenizer.factors, strict=True))
    made = tokenizer.decode(codes)
    assert made.shape == signals.shape and made.isfinite().all()
    assert tokenizer.medium.low <= made.min() and made.max() <= tokenizer.medium.high


@tokenizers
@torch.no_grad()
def test_tokenizer_output_is_finite_for_any_signal_and_any_codes(kind):
    tokenizer, signals = tokenizer_and_signals(kind)
    for extreme in (torch.full_like(signals, tokenizer.medium.low), torch.full_like(signals, tokenizer.medium.high), signals.round()):
        assert tokenizer.decode(tokenizer.encode(extreme).check()).isfinite().all()
    grid = tokenizer.encode(signals).grid
    assert tokenizer.decode(random_codes(grid, tokenizer.radix, 2)).isfinite().all()
    assert tokenizer.decode(Codes(torch.zeros(1, *grid, len(tokenizer.radix), dtype=torch.uint8), tokenizer.radix)).isfinite().all()


@tokenizers
def test_tokenizer_refuses_signals_that_do_not_fit(kind):
    tokenizer, signals = tokenizer_and_signals(kind)
    name, twice = tokenizer.medium.plural, (1, 2, *[1] * len(tokenizer.size))
    for wrong in (signals.repeat(twice), signals[0], (signals * 100).to(torch.uint8), signals[:, :0]):
        with pytest.raises(ValueError, match=rf"{name}: got torch\.\w+ .*want floats in \[.*\], \(batch, {tokenizer.channels}, "):
            tokenizer.encode(wrong)
    for axis, factor in enumerate(tokenizer.factors or [2] * len(tokenizer.size), 2):
        for wrong in (signals.narrow(axis, 0, 0), *([signals.narrow(axis, 1, signals.shape[axis] - 1)] if factor > 1 else [])):
            with pytest.raises(ValueError, match=f"{name}: (sides .* are not divisible by .*|got .*; this tokenizer takes )"):
                tokenizer.encode(wrong)


@tokenizers
def test_tokenizer_refuses_another_ones_codes(kind):
    tokenizer, _ = tokenizer_and_signals(kind)
    radix, grid = tokenizer.radix, tuple(tokenizer.spec.grid)
    for other, wrong in ((grid, (*radix, 2)), (grid, (3, *radix[1:]) if radix[0] == 2 else (2, *radix[1:])), ((*grid, 2), radix)):
        with pytest.raises(ValueError, match="codes: "):
            tokenizer.decode(random_codes(other, wrong, 1))


@tokenizers
@torch.no_grad()
def test_tokenizer_does_not_depend_on_the_batch(kind):
    tokenizer, signals = tokenizer_and_signals(kind, batch=4)
    codes, order = tokenizer.encode(signals), [2, 0, 3, 1]
    made = tokenizer.decode(codes)
    assert torch.equal(tokenizer.encode(signals[order]).digits, codes.digits[order])
    torch.testing.assert_close(tokenizer.decode(codes[order]), made[order], rtol=0, atol=1e-4)
    for i in range(4):
        assert torch.equal(tokenizer.encode(signals[i : i + 1]).digits, codes[i].digits)
        torch.testing.assert_close(tokenizer.decode(codes[i]), made[i : i + 1], rtol=0, atol=1e-4)


@tokenizers
@torch.no_grad()
def test_tokenizer_state_round_trips_and_draws_nothing(kind):
    tokenizer, signals = tokenizer_and_signals(kind)
    other = shaken(kind().build(), seed=1)
    before = torch.get_rng_state()
    codes = tokenizer.encode(signals)
    assert len(codes.digits.unique()) > 1
    assert torch.equal(other.encode(signals).digits, codes.digits) is not any(True for _ in tokenizer.parameters())
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other.encode(signals).digits, codes.digits) and torch.equal(other.decode(codes), tokenizer.decode(codes))
    nothing_drawn_globally(before)
