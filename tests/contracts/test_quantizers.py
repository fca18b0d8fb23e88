"""The contract of quantizers: vectors to digits and back, held against every quantizer that there is."""

import copy
import itertools
import math

import pytest
import torch
from parts import draw, inhabitants, named, nothing_drawn_globally, random_codes

from bitmosaic.codes import Codes
from bitmosaic.quantizers.base import Quantizer

QUANTIZERS = inhabitants("quantizers", Quantizer)
quantizers = pytest.mark.parametrize("kind", **named(QUANTIZERS))


def some_digits(radix, most=4096):
    """All digits (n, k) where they are few, else random ones with all the extremes."""
    if math.prod(radix) <= most:
        return torch.tensor(list(itertools.product(*map(range, radix))))
    extremes = torch.stack([torch.zeros(len(radix), dtype=torch.int64), torch.tensor(radix) - 1])
    return torch.cat([extremes, random_codes((most,), radix, 1).digits[0].long()])


@quantizers
def test_quantizer_encode_undoes_decode(kind):
    quantizer = kind().build().eval()
    digits = some_digits(quantizer.radix)
    z = quantizer.decode(digits)
    assert z.shape == (len(digits), quantizer.width) and z.is_floating_point()
    grid = digits[:6].view(1, 2, 3, -1)
    assert torch.equal(quantizer.decode(grid).flatten(0, 2), z[:6])
    if quantizer.exact:
        assert torch.equal(quantizer.encode(quantizer.preimage(digits)).long(), digits)
        assert torch.equal(quantizer.encode(quantizer.preimage(grid)).long(), grid)


@quantizers
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e30])
def test_quantizer_digits_stay_below_the_radix(kind, scale):
    quantizer = kind().build().eval()
    z = draw(1, 2, 5, 3, quantizer.width) * scale
    for result in (quantizer(z), quantizer(z, torch.Generator().manual_seed(0))):
        Codes(result.digits, quantizer.radix).check()
        assert not result.digits.is_floating_point() and result.digits.shape == (2, 5, 3, len(quantizer.radix))
        assert result.z.shape == z.shape and result.z.isfinite().all()
        assert all(loss.ndim == 0 and (loss.isfinite() or scale > 1e15) for loss in result.losses.values())  # a square may overflow


@quantizers
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])
def test_quantizer_forward_without_draws_is_encode(kind, scale):
    quantizer = kind().build().eval()
    z = draw(1, 50, quantizer.width) * scale
    assert torch.equal(quantizer(z).digits, quantizer.encode(z))


@quantizers
@pytest.mark.parametrize("seed", [None, 0])
def test_quantizer_passes_a_gradient_to_its_input(kind, seed):
    quantizer = kind().build()
    z = draw(2, 4, 3, 3, quantizer.width).requires_grad_()
    result = quantizer(z, None if seed is None else torch.Generator().manual_seed(seed))
    (result.z * draw(3, *z.shape)).sum().backward()
    assert z.grad.isfinite().all() and (z.grad != 0).flatten(0, -2).any(0).all()


@quantizers
def test_quantizer_state_round_trips(kind):
    torch.manual_seed(0)
    one = kind().build().eval()
    torch.manual_seed(1)
    other = kind().build().eval()
    other.load_state_dict(one.state_dict())
    z, digits = draw(4, 7, one.width), some_digits(one.radix)
    assert torch.equal(one.encode(z), other.encode(z)) and torch.equal(one.decode(digits), other.decode(digits))


@quantizers
def test_quantizer_evaluation_does_not_depend_on_the_batch(kind):
    quantizer = kind().build().eval()
    z, order = draw(5, 6, 2, 2, quantizer.width), torch.tensor([3, 1, 5, 0, 4, 2])
    whole = quantizer(z)
    assert torch.equal(quantizer(z[order]).digits, whole.digits[order])
    assert torch.equal(quantizer(z[order]).z, whole.z[order])
    assert all(torch.equal(quantizer(z[i : i + 1]).digits, whole.digits[i : i + 1]) for i in range(6))


@quantizers
def test_quantizer_draws_come_from_the_given_generator(kind):
    quantizer, z = kind().build(), draw(6, 4, 4, kind().build().width)
    before = torch.get_rng_state()
    first, again = (copy.deepcopy(quantizer)(z, torch.Generator().manual_seed(3)).digits for _ in range(2))  # some learn as they go
    assert torch.equal(first, again)
    nothing_drawn_globally(before)
