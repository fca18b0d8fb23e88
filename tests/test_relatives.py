"""BiGR's relatives: heads that draw bits in other ways, and the autoregressive prior."""

import itertools

import pytest
import torch

from bitmosaic import Pipeline
from bitmosaic.codes import Codes
from bitmosaic.nets.llama import Past, attend_causal
from bitmosaic.priors import (
    AutoregressivePriorSpec,
    BernoulliDiffusionSpec,
    CategoricalSpec,
    DirectBitsSpec,
    MaskedBitsSpec,
    MaskedPriorSpec,
)
from bitmosaic.priors.likelihood import code_length, marginal_entropy
from bitmosaic.samplers import EntropyOrderedSpec, RasterSpec
from bitmosaic.tokenizers import BinaryAutoencoderSpec

HEADS = [BernoulliDiffusionSpec, DirectBitsSpec, MaskedBitsSpec, CategoricalSpec]
heads = pytest.mark.parametrize("kind", HEADS, ids=[kind.__name__ for kind in HEADS])


def shaken(part, std=0.5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * std)
    return part.eval()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def uniforms(*shape, seed=0):
    source = rng(seed)
    return lambda: torch.rand(*shape, generator=source)


ALL = torch.tensor(list(itertools.product((0, 1), repeat=4)), dtype=torch.uint8)


@heads
@torch.no_grad()
def test_the_likelihoods_of_all_codes_sum_to_one(kind):
    head = shaken(kind().build(4, 6))
    condition = torch.randn(1, 6, generator=rng())
    noise = torch.rand(2, 1, 4, generator=rng(1))
    draws = iter(noise.expand(-1, 16, -1))
    found = head.log_likelihood(ALL, condition.expand(16, -1)[None], lambda: next(draws))
    assert found.shape == (16,) and float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert found.max() - found.min() > 0.5  # not all alike


@pytest.mark.parametrize("kind", [DirectBitsSpec, CategoricalSpec, MaskedBitsSpec])
@torch.no_grad()
def test_draws_follow_the_likelihood(kind):
    """Of masked bits where they come one by one: then the law of draws is the mean of the likelihood over orders."""
    head, n = shaken(kind().build(4, 6), 0.3), 40_000
    condition = torch.randn(1, 6, generator=rng())
    bits, p = head.draw(condition.expand(n, -1)[None], 1.0, 4, uniforms(n, 4))
    drawn = torch.bincount((bits.long() @ torch.tensor([8, 4, 2, 1])), minlength=16) / n
    orders = 400
    likelihood = head.log_likelihood(ALL.repeat(orders, 1), condition.expand(16 * orders, -1)[None], uniforms(16 * orders, 4, seed=2))
    expected = likelihood.exp().view(orders, 16).mean(0)
    assert (drawn - expected).abs().max() < 0.015 and p.min() >= 0 and p.max() <= 1
    if kind is not MaskedBitsSpec:  # whose marginals are those of its first round
        marginals = head.marginals(condition[None], 1.0, torch.rand(1, 4))
        assert torch.allclose(bits.float().mean(0), marginals[0], atol=0.015)


@torch.no_grad()
def test_the_categorical_head_is_a_softmax_over_indices():
    head = shaken(CategoricalSpec().build(3, 5))
    condition = torch.randn(2, 5, generator=rng())
    p = head.net(condition).softmax(-1)
    codes = torch.tensor([[1, 0, 1], [0, 1, 1]], dtype=torch.uint8)  # 5 and 3
    assert torch.allclose(head.log_likelihood(codes, condition[None], None), torch.stack([p[0, 5], p[1, 3]]).log())
    assert torch.allclose(head.marginals(condition[None], 1.0, None)[:, 0], p[:, 4:].sum(1))
    assert float(head.loss(codes, condition, rng())) == pytest.approx(-float(torch.stack([p[0, 5], p[1, 3]]).log().mean()))
    with pytest.raises(ValueError, match="17 bits are 131,072 indices"):
        CategoricalSpec().build(17, 5)


def trained(kind, steps=400):
    """A head taught that four bits of a place are all alike, 0000 or 1111, as often."""
    torch.manual_seed(0)
    head, source = kind().build(4, 6), rng()
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(steps):
        x = torch.randint(2, (64, 1), generator=source).expand(-1, 4).to(torch.uint8)
        optimizer.zero_grad()
        head.loss(x, torch.ones(64, 6), source).backward()
        optimizer.step()
    return head.eval()


@heads
@torch.no_grad()
def test_only_direct_bits_cannot_learn_that_bits_hang_together(kind):
    with torch.enable_grad():
        head = trained(kind)
    bits, _ = head.draw(torch.ones(1, 500, 6), 1.0, 20, uniforms(500, 4))
    alike = (bits.sum(1) % 4 == 0).float().mean()
    ones = bits[:, 0].float().mean()
    assert 0.35 < ones < 0.65
    assert alike < 0.25 if kind is DirectBitsSpec else alike > 0.85


@pytest.mark.parametrize("evaluations", [1, 2, 3, 9])
@torch.no_grad()
def test_masked_bits_take_as_many_rounds_as_there_are_evaluations(evaluations):
    head, seen = shaken(MaskedBitsSpec().build(4, 6)), []
    head.net.register_forward_hook(lambda *_: seen.append(1))
    bits, p = head.draw(torch.randn(1, 7, 6), 1.0, evaluations, uniforms(7, 4))
    assert len(seen) == min(evaluations, 4) and bits.shape == p.shape == (7, 4)


# The autoregressive prior


def prior(head=BernoulliDiffusionSpec, grid=(2, 3), **settings):
    return shaken(AutoregressivePriorSpec(grid, 5, 3, head=head(), **settings).build())


def codes_of(part, batch=3, seed=0):
    return Codes(torch.randint(2, (batch, *part.grid, len(part.radix)), generator=rng(seed)), part.radix)


@pytest.mark.parametrize("positions", [False, True])
@torch.no_grad()
def test_keys_and_values_that_are_kept_change_nothing(positions):
    part = prior(input_positions=positions)
    codes = codes_of(part)
    vectors = part.embed(torch.tensor([0, 1, 2]), 3)
    whole = part.context(codes.flat(), torch.ones(3, 6, dtype=torch.bool), vectors)
    ask = part.in_order(vectors)
    kept = torch.stack([ask(codes.flat()[:, i - 1] if i else None) for i in range(6)], 1)
    torch.testing.assert_close(kept, whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_positions_at_the_input_tell_equal_places_apart():
    for asked in (False, True):
        part = prior(input_positions=asked)
        part.positions.zero_()  # those that the head is told are another matter
        equal = Codes(torch.ones(1, 2, 3, 5, dtype=torch.uint8), part.radix).flat()
        tokens = part.tokens(equal, 0)
        assert torch.equal(tokens[:, 0], tokens[:, 5]) != asked
        torch.testing.assert_close(part.tokens(equal[:, 2:4], 2), tokens[:, 2:4])


@torch.no_grad()
def test_a_place_sees_those_before_it_and_no_other():
    part = prior(input_positions=True)
    a, everything, vectors = codes_of(part).flat(), torch.ones(3, 6, dtype=torch.bool), part.embed(None, 3)
    base = part.context(a, everything, vectors)
    for place in range(6):
        b = a.clone()
        b[:, place] ^= 1
        changed = (part.context(b, everything, vectors) - base).abs().amax((0, 2)) > 1e-6
        assert changed.tolist() == [i > place for i in range(6)]


@pytest.mark.parametrize("n", [1, 4])
def test_attention_to_the_past_by_both_ways(n):
    q, k, v = (torch.randn(2, 3, n, 8, generator=rng(i)) for i in range(3))
    fused = attend_causal(q, k, v)
    torch.testing.assert_close(attend_causal(q.requires_grad_(), k, v), fused)
    past = Past()
    torch.testing.assert_close(torch.cat([past(q[:, :, i : i + 1], k[:, :, i : i + 1], v[:, :, i : i + 1]) for i in range(n)], 2), fused)


@torch.no_grad()
def test_known_places_are_told_to_those_after_them():
    part = prior(CategoricalSpec)
    codes, known = codes_of(part), torch.zeros(3, 2, 3, dtype=torch.bool)
    known[:, 0, :2] = True
    sampler = RasterSpec(1, 1.0).build()

    def last(given):
        return list(sampler(part, given, known, None, [rng(i) for i in range(3)]))[-1].codes.digits

    other = Codes(1 - codes.digits, codes.radix)
    assert torch.equal(last(codes)[known], codes.digits[known]) and not torch.equal(last(codes)[~known], last(other)[~known])


@pytest.mark.parametrize("head", HEADS, ids=[kind.__name__ for kind in HEADS])
@torch.no_grad()
def test_the_code_length_of_an_autoregressive_prior_is_a_law(head):
    part = shaken(AutoregressivePriorSpec((1, 2), 2, head=head()).build())
    every = torch.tensor(list(itertools.product((0, 1), repeat=4)), dtype=torch.uint8).view(16, 1, 2, 2)
    length = code_length(part, Codes(every, part.radix), torch.zeros(16, 1, 2, dtype=torch.bool), None, rng())
    assert float((2.0**-length).sum()) == pytest.approx(1, abs=1e-4)
    known = torch.tensor([[[True, False]]]).expand(16, -1, -1)
    partly = code_length(part, Codes(every, part.radix), known, None, rng())
    assert float((2.0**-partly).sum()) == pytest.approx(4, abs=1e-4)  # one law for each of four codes of the first place
    if head is CategoricalSpec:  # the others' order of bits is drawn anew, so equal figures are of equal draws only
        first = code_length(part, Codes(every, part.radix), ~known, None, rng())  # the second place is known and fits more or less well
        torch.testing.assert_close(first, length)


def test_a_masked_sampler_refuses_an_autoregressive_prior_and_entropy_needs_a_masked_one():
    part = prior()
    codes, known = codes_of(part), torch.zeros(3, 2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="use the sampler 'raster'"):
        next(EntropyOrderedSpec().build()(part, codes, known, None, [rng()] * 3))
    with pytest.raises(ValueError, match="take a masked one"):
        marginal_entropy(part, codes, known, None, rng())


@torch.no_grad()
def test_raster_order_is_the_masked_prior_asked_place_by_place():
    part = shaken(MaskedPriorSpec((2, 2), 4, head=CategoricalSpec()).build())
    codes, known = codes_of(part, 1), torch.tensor([[[False, True], [True, False]]])
    steps = list(RasterSpec(1, 1.0).build()(part, codes, known, None, [rng()]))
    assert [step.known.flatten().tolist() for step in steps] == [[True, True, True, False]] * 3 + [[True] * 4]
    noise = rng()
    digits, seen = codes.flat() * known.flatten(1)[..., None], known.flatten(1).clone()
    for place in (0, 3):
        told = part.context(digits, seen, part.embed(None, 1))[:, place]
        digits[:, place] = part.head.draw(told[None], 1.0, 1, lambda: torch.rand(1, 1, 4, generator=noise)[0])[0].to(torch.uint8)
        seen[:, place] = True
    assert torch.equal(steps[-1].codes.flat(), digits)


def test_a_pipeline_of_an_autoregressive_prior(tmp_path):
    torch.manual_seed(0)
    tokenizer = BinaryAutoencoderSpec((8, 8), 1, 5, 8, (1, 1), 0, (), 8, groups=4).build()
    pipe = Pipeline(tokenizer, AutoregressivePriorSpec((4, 4), 5, head=CategoricalSpec()).build(), class_names=("a", "b", "c"))
    assert isinstance(pipe.sampler, RasterSpec)
    images = pipe(["a", "b"], seeds=[1, 2], output_type="pt")
    pipe.save_pretrained(tmp_path / "pipe")
    again = Pipeline.from_pretrained(tmp_path / "pipe")
    assert torch.equal(again(["a", "b"], seeds=[1, 2], output_type="pt"), images)
    assert again.features(images).shape == (2, 16 * 16) and len(again.forward_intermediates(images)) == 2
    answers = again.inpaint(images[0], (0, 4, 8, 8), "a", seeds=range(3), output_type="pt")
    assert torch.equal(answers.images[0, :, :4], (images[0, :, :4] * 255).round() / 255) and list(answers.bits) == sorted(answers.bits)
    with pytest.raises(ValueError, match="raster"):
        again("a", sampler="fast")


