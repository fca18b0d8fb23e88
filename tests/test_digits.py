"""Codes of several digits a place: a prior that knows places in part, digit by digit, and those that do not."""

import itertools

import pytest
import torch
from parts import random_codes, shaken

from bitmosaic.codes import Codes, digit_widths
from bitmosaic.pipelines import CodesPipeline
from bitmosaic.priors import D3PMSpec, MaskedDigitsSpec, MaskedPriorSpec, MaskGITSpec
from bitmosaic.priors.likelihood import code_length
from bitmosaic.samplers import EntropyOrderedSpec, MaskGITSamplerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec


def rngs(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


def part_known(codes, share=0.5, seed=0):
    """Marks of single digits, (b, *grid, K) bool: some places are known in part."""
    known = torch.rand(codes.digits.shape, generator=torch.Generator().manual_seed(seed)) < share
    assert (known.any(-1) & ~known.all(-1)).any()
    return known


@torch.no_grad()
def test_a_prior_sees_known_digits_of_a_place_and_not_its_hidden_ones():
    prior, labels = shaken(MaskedDigitsSpec().build()), torch.tensor([0, 1, 2])
    codes, other = random_codes(prior.grid, prior.radix, 3), random_codes(prior.grid, prior.radix, 3, seed=1)
    known = part_known(codes)
    prior.check(codes, known)

    def context(digits, known):
        return prior.context(digits.flatten(1, 2), known.flatten(1, 2), prior.embed(labels, 3))

    seen = context(codes.digits, known)
    assert torch.equal(context(torch.where(known, codes.digits, other.digits), known), seen)
    assert not torch.allclose(context(torch.where(known, other.digits, codes.digits), known), seen)
    places = known.all(-1)
    assert torch.equal(context(codes.digits, places), context(codes.digits, places[..., None].expand_as(known)))


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 4, 30])
def test_digits_are_revealed_one_by_one_and_given_ones_survive(steps):
    prior = shaken(MaskedDigitsSpec().build())
    codes, labels = random_codes(prior.grid, prior.radix, 3), torch.tensor([0, 1, 2])
    known = part_known(codes)
    seen = list(MaskGITSamplerSpec(steps).build()(prior, codes, known, labels, rngs(3)))
    assert len(seen) == steps and seen[-1].known.all()
    made = seen[-1].codes.check().digits
    assert torch.equal(made[known], codes.digits[known]) and not torch.equal(made, codes.digits)
    before = known.all(-1)
    for step in seen:
        assert step.known.shape == codes.digits.shape[:-1] and step.known[before].all() and not step.codes.digits[~step.known].any()
        assert 0 <= step.entropy.min() and step.entropy.max() <= 1
        before = step.known
    alone = list(MaskGITSamplerSpec(steps).build()(prior, codes[1], known[1:2], labels[1:2], rngs(3)[1:2]))
    assert torch.equal(alone[-1].codes.digits, seen[-1].codes.digits[1:2])


@pytest.mark.parametrize("spec", [MaskedPriorSpec(), MaskGITSpec(), D3PMSpec()], ids=lambda spec: type(spec).__name__)
def test_a_prior_of_whole_places_refuses_marks_of_digits(spec):
    prior = spec.build()
    codes = random_codes(prior.grid, prior.radix, 2)
    with pytest.raises(ValueError, match=r"known: got one mark a digit, .*; this prior knows whole places, so want bool \(2, 4, 4\)"):
        prior.check(codes, torch.ones(codes.digits.shape, dtype=torch.bool))


def test_a_sampler_of_whole_places_refuses_them_too():
    prior = MaskedDigitsSpec().build()
    codes = random_codes(prior.grid, prior.radix, 2)
    with pytest.raises(ValueError, match=r"known: got one mark a digit, .*'entropy-ordered' reveals whole places, so want bool"):
        next(EntropyOrderedSpec().build()(prior, codes, part_known(codes), None, rngs(2)))
    with pytest.raises(ValueError, match=r"known: got torch.bool \(2, 4, 4, 2\); want bool \(2, 4, 4\) or \(2, 4, 4, 3\)"):
        prior.check(codes, part_known(codes)[..., :2])


@torch.no_grad()
def test_all_codes_of_a_place_share_one_probability():
    """Over every digit of one place, and over the bits that a coder sends: both sum to 1."""
    prior = shaken(MaskedDigitsSpec((1, 1), (3, 2, 5)).build())
    every = torch.tensor(list(itertools.product(*map(range, prior.radix))))
    codes = Codes(every.view(30, 1, 1, 3), prior.radix)
    lengths = code_length(prior, codes, torch.zeros(30, 1, 1, dtype=torch.bool), None, torch.Generator())
    assert float((2.0**-lengths).sum()) == pytest.approx(1, abs=1e-5)
    told = prior.context(codes.flat(), torch.zeros(30, 1, dtype=torch.bool), prior.embed(None, 30))[:, 0]
    asked, bits, total = prior.head.bit_by_bit(told[None], lambda: None), codes.bits()[:, 0], torch.zeros(30)
    columns, logits = next(asked)
    for _ in range(sum(digit_widths(prior.radix))):
        there = bits.gather(1, columns)
        total -= torch.nn.functional.binary_cross_entropy_with_logits(logits, there.float(), reduction="none")[:, 0]
        try:
            columns, logits = asked.send(there)
        except StopIteration:
            break
    torch.testing.assert_close(total, -lengths * torch.tensor(2.0).log(), rtol=0, atol=1e-4)


def test_a_pipeline_completes_bits_of_places():
    """Of a binary autoencoder's places every second bit is given."""
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 6, 8, (1, 1), 0, (), 8, groups=4).build()
    pipe = CodesPipeline(tokenizer, shaken(MaskedDigitsSpec((4, 4), (2,) * 6).build()), MaskGITSamplerSpec(4))
    codes, known = random_codes((4, 4), (2,) * 6, 2), torch.zeros(2, 4, 4, 6, dtype=torch.bool)
    known[..., ::2] = True
    *_, last = pipe.complete(codes, known, [0, 2], seeds=[3, 4])
    assert torch.equal(last.codes.digits[known], codes.digits[known]) and pipe.decode(last.codes, "pt").shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match="known: got one mark a digit"):
        next(pipe.complete(codes, known, [0, 2], seeds=[3, 4], sampler="raster"))


def test_any_radix_is_known():
    assert MaskedDigitsSpec().on((2, 3), (2,) * 20, MaskedDigitsSpec().condition).build().radix == (2,) * 20
    for wrong in ((), (1, 2), (2**25,)):
        with pytest.raises(ValueError, match="radix: got"):
            MaskedDigitsSpec(radix=wrong)
