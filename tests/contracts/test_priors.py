"""The contract of priors: laws of codes, held against every masked, causal and denoising prior, with every head that it takes."""

import copy
import itertools

import pytest
import torch
from parts import CONDITIONS, DENOISING, HEADED, PRIORS, half_known, named, nothing_drawn_globally, prior_and_codes, random_codes
from torch import nn

from bitmosaic.codes import Codes

priors = pytest.mark.parametrize("kind", **named(PRIORS))
headed = pytest.mark.parametrize("kind", **named(HEADED))
conditions = pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)


def context(prior, codes, known, labels):
    return prior.context(codes.flat(), known.flatten(1), prior.embed(labels, len(codes)))


@priors
@conditions
def test_prior_loss_reaches_every_parameter(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    names, parameters = zip(*prior.train().named_parameters(), strict=True)
    reached = set()
    for seed in range(8):  # a single draw may hide every place, or drop every class
        loss = prior.loss(codes, labels, torch.Generator().manual_seed(seed))
        assert loss.ndim == 0 and loss.isfinite()
        gradients = dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))
        unused = [name for name, g in gradients.items() if g is None]
        assert not unused, f"no gradient at {unused}, which stops distributed training"
        assert all(g.isfinite().all() for g in gradients.values())
        reached |= {name for name, g in gradients.items() if (g != 0).any()}
    assert reached == set(names), f"the gradient is zero at {set(names) - reached}"


@priors
def test_prior_learns_every_class_and_the_null(kind):
    prior, codes, labels = prior_and_codes(kind, CONDITIONS["classes"])
    for seed in range(8):
        prior.loss(codes, labels, torch.Generator().manual_seed(seed), 0.5).backward()
    reached = (prior.condition.table.weight.grad != 0).any(1)
    assert len(reached) == prior.condition.classes + 1 and reached.all()


@priors
@pytest.mark.parametrize("probability, null", [(0.0, False), (1.0, True)])
def test_prior_drops_classes_as_often_as_told(kind, probability, null):
    prior, codes, labels = prior_and_codes(kind, CONDITIONS["classes"])
    prior.loss(codes, labels, torch.Generator().manual_seed(0), probability).backward()
    reached = (prior.condition.table.weight.grad != 0).any(1).tolist()
    assert reached == [not null] * prior.condition.classes + [null]


@priors
@conditions
def test_prior_loss_draws_from_the_given_generator_only(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    before = torch.get_rng_state()
    rngs = [torch.Generator().manual_seed(seed) for seed in (3, 3, 4)]
    started = rngs[0].get_state()
    first, again, another = (prior.loss(codes, labels, rng) for rng in rngs)
    drew = not torch.equal(rngs[0].get_state(), started)  # a categorical loss of all places has nothing to draw
    assert torch.equal(first, again) and drew != torch.equal(first, another)
    nothing_drawn_globally(before)


@headed
@conditions
@torch.no_grad()
def test_prior_does_not_see_what_stands_at_hidden_places(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    known, other = half_known(codes), random_codes(prior.grid, prior.radix, len(codes), seed=1)
    changed = Codes(torch.where(known[..., None], codes.digits, other.digits), codes.radix)
    seen = context(prior, codes, known, labels)
    assert seen.isfinite().all() and not torch.equal(changed.digits, codes.digits)
    assert torch.equal(context(prior, changed, known, labels), seen), "what stands at hidden places leaks"
    changed = Codes(torch.where(known[..., None], other.digits, codes.digits), codes.radix)
    assert not torch.allclose(context(prior, changed, known, labels), seen), "what stands at known places is not seen"
    assert not torch.allclose(context(prior, codes, ~known, labels), seen)


@headed
@torch.no_grad()
def test_prior_sees_the_class(kind):
    prior, codes, labels = prior_and_codes(kind, CONDITIONS["classes"])
    known = half_known(codes)
    seen = context(prior, codes, known, labels)
    one_hot = nn.functional.one_hot(labels, prior.condition.classes).float()
    torch.testing.assert_close(context(prior, codes, known, one_hot), seen, rtol=0, atol=1e-5)
    assert not torch.allclose(context(prior, codes, known, (labels + 1) % prior.condition.classes), seen, atol=1e-3)
    assert not torch.allclose(context(prior, codes, known, None), seen, atol=1e-3)
    null = torch.full_like(labels, prior.condition.classes)
    for given in (null, nn.functional.one_hot(null).float()):  # weights may have a last column for the null
        torch.testing.assert_close(context(prior, codes, known, given), context(prior, codes, known, None), rtol=0, atol=1e-5)


@headed
@conditions
@torch.no_grad()
def test_prior_says_the_same_in_any_batch(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    known, order = half_known(codes), torch.tensor([2, 0, 3, 1])
    seen, features = context(prior, codes, known, labels), prior.features(codes, labels, 0)
    for rows in (order, *torch.arange(4).split(1)):
        some = None if labels is None else labels[rows]
        torch.testing.assert_close(context(prior, codes[rows], known[rows], some), seen[rows], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(prior.features(codes[rows], some, 0), features[rows], rtol=1e-4, atol=1e-4)


@headed
@torch.no_grad()
def test_prior_guidance_1_is_the_unguided_call(kind):
    prior, codes, labels = prior_and_codes(kind, CONDITIONS["classes"])
    known = half_known(codes)
    both = torch.stack([context(prior, codes, known, given).flatten(0, 1) for given in (labels, None)])
    draws = torch.rand(50, both.shape[1], len(prior.radix), generator=torch.Generator().manual_seed(0))

    def ask(branches, scale):
        noise = iter(draws)
        return prior.head.draw(branches, scale, 10, lambda: next(noise))[1]

    plain = ask(both[:1], 1.0)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(ask(both, 1.0), plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(ask(both, 0.0), ask(both[1:], 1.0), rtol=0, atol=1e-4)
    torch.testing.assert_close(ask(both[:1].repeat(2, 1, 1), 7.0), plain, rtol=0, atol=1e-4)
    assert not torch.allclose(ask(both, 3.0), plain, atol=1e-2)


@priors
@conditions
@torch.no_grad()
def test_prior_features_are_of_every_place_and_layer(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    depth = len(prior.blocks)
    layers = [prior.features(codes, labels, layer) for layer in range(depth)]
    assert all(h.shape[:2] == (len(codes), codes.places) and h.isfinite().all() for h in layers)
    assert not any(torch.allclose(a, b) for a, b in itertools.combinations(layers, 2))
    for layer in (-1, depth):
        with pytest.raises(ValueError, match=f"layer: got {layer}"):
            prior.features(codes, labels, layer)


@headed
@conditions
@torch.no_grad()
def test_prior_state_round_trips(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    other, _, _ = prior_and_codes(kind, condition, seed=1)
    known = half_known(codes)
    other.load_state_dict(copy.deepcopy(prior.state_dict()))
    assert torch.equal(context(other, codes, known, labels), context(prior, codes, known, labels))


ASKED = {
    "check": lambda prior, codes, labels: prior.check(codes, torch.ones(codes.digits.shape[:-1], dtype=torch.bool)),
    "features": lambda prior, codes, labels: prior.features(codes, labels, 0),
    "loss": lambda prior, codes, labels: prior.loss(codes, labels, torch.Generator().manual_seed(0)),
}


@priors
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_prior_refuses_codes_that_do_not_fit(kind, ask):
    prior, codes, labels = prior_and_codes(kind, CONDITIONS["classes"])
    turned = Codes(codes.digits.view(4, 1, codes.places, -1), codes.radix)  # as many places, another grid
    more = random_codes((prior.grid[0] + 1, *prior.grid[1:]), prior.radix, 4)
    longer = random_codes(prior.grid, (*prior.radix, 2), 4)
    other = random_codes(prior.grid, tuple(r + 1 for r in prior.radix), 4)
    ask(prior, codes, labels)
    for wrong in (turned, more, longer, other):
        with pytest.raises(ValueError, match=r"codes: "):
            ask(prior, wrong, labels)


@priors
def test_prior_refuses_known_places_that_do_not_fit(kind):
    prior, codes, _ = prior_and_codes(kind, CONDITIONS["classes"])
    known = half_known(codes)
    for wrong in (known[:1], known.long(), known.flatten(1)):
        with pytest.raises(ValueError, match=r"known: got torch\.\w+ \("):
            prior.check(codes, wrong)


@priors
def test_prior_refuses_labels_that_do_not_fit(kind):
    """Twice as many labels as images would pass for the two branches of guidance."""
    prior, _, labels = prior_and_codes(kind, CONDITIONS["classes"])
    weights = torch.ones(4, prior.condition.classes) / prior.condition.classes
    turned = (labels[0], labels[:1], labels.repeat(2), labels[:, None])
    for wrong in (*turned, weights[0], weights[:2], weights[:, 1:], weights.repeat(2, 1), weights.repeat(1, 2)):
        with pytest.raises(ValueError, match="labels: "):
            prior.embed(wrong, 4)


@priors
def test_prior_without_classes_refuses_labels(kind):
    prior, _, _ = prior_and_codes(kind, CONDITIONS["unconditional"])
    with pytest.raises(ValueError, match="labels: .*None"):
        prior.embed(torch.zeros(4, dtype=torch.int64), 4)


def test_every_prior_is_of_a_family_that_has_a_contract():
    assert HEADED and DENOISING and set(PRIORS) == {*HEADED, *DENOISING}
