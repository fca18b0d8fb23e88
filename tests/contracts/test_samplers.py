"""The contract of samplers: how a prior is asked, held against every sampler with every prior that it asks."""

import dataclasses
import itertools
import math

import pytest
import torch
from cover import covered
from parts import CONDITIONS, PRIORS, inhabitants, named, nothing_drawn_globally, prior_and_codes, random_codes, walk, with_settings
from torch import nn

from bitmosaic.priors.base import HeadedPrior
from bitmosaic.samplers import SAMPLERS as CALLED
from bitmosaic.samplers import LlamaGenSamplerSpec, RasterSpec
from bitmosaic.samplers.base import FITS, Sampler

LAST_LAYER = 1e4  # by how much the head's last weights are scaled where its logits shall be huge
SAMPLERS = inhabitants("samplers", Sampler)
samplers = pytest.mark.parametrize("kind", **named(SAMPLERS))


def suits(sampler, of):
    """Whether a sampler asks such priors."""
    asks, prior = sampler().build(), of().build()
    return prior.family in asks.families and (not asks.of_indices or prior.head.of_indices)


PAIRS = [(kind, of) for kind in SAMPLERS for of in PRIORS if suits(kind, of)]
pairs = pytest.mark.parametrize("kind, of", PAIRS, ids=[f"{kind.__name__}-{of.__name__}" for kind, of in PAIRS])


def covering(names="", *factors, ways=2):
    """Samplers, the priors that they ask, and more: every pair of values, or with 1 every value, and in `make slow` the full product."""
    chosen = covered(SAMPLERS, PRIORS, *factors, ways=ways, fits=lambda *some: some[:2] in PAIRS)
    return pytest.mark.parametrize(f"kind, of{names}", chosen)


paired = covering(", condition", list(CONDITIONS.values()))
each = covering(ways=1)


def asked(of, condition):
    """A prior of a small grid, codes that fit it, and labels or None."""
    return prior_and_codes(of, condition, grid=(2, 4))


def some_known(codes, hidden=(16, 9, 3, 0)):
    """Which places are known, (b, *grid): image i has about hidden[i] of 16 places hidden."""
    known = torch.ones(len(codes), codes.places, dtype=torch.bool)
    for i, row in enumerate(known):
        count = math.ceil(hidden[i % len(hidden)] * codes.places / 16)
        row[torch.randperm(codes.places, generator=torch.Generator().manual_seed(i))[:count]] = False
    return known.view(codes.digits.shape[:-1])


def sane(steps, codes, known, kind):
    """The last digits of a walk of which all holds that should: given codes survive, all places are known in the end, and what samplers of
    masked and causal priors have revealed stays."""
    assert [step.index for step in steps] == list(range(1, len(steps) + 1)) and {step.total for step in steps} == {len(steps)}
    reveals = "denoising" not in kind().build().families
    before_digits, before, fixed = codes.digits * known[..., None], known, known
    for step in steps:
        digits = step.codes.check().digits
        assert step.codes.radix == codes.radix and digits.shape == codes.digits.shape and digits.dtype == codes.digits.dtype
        assert step.known.shape == known.shape and step.known.dtype == torch.bool and step.known[before].all()
        assert torch.equal(digits[fixed], before_digits[fixed]), "a known code was overwritten"
        assert not digits[~step.known].any(), "a hidden place holds something"
        assert step.entropy.shape == known.shape and step.entropy.isfinite().all()
        assert 0 <= step.entropy.min() and step.entropy.max() <= 1 + 1e-6
        before_digits, before = digits, step.known
        fixed = before if reveals else known
    assert before.all(), "a place was left hidden"
    return steps[-1].codes.digits


def last_layer(prior):
    """Which gives the logits."""
    part = prior.head if isinstance(prior, HeadedPrior) else prior
    return [module for module in part.modules() if isinstance(module, nn.Linear)][-1]


@paired
@torch.no_grad()
def test_sampler_fills_every_place_in_any_number_of_steps(kind, of, condition):
    prior, codes, labels = asked(of, condition)
    known = some_known(codes)
    given, mask = codes.digits.clone(), known.clone()
    for count in (1, 2, 5, codes.places - 1, codes.places, codes.places + 5):
        steps = walk(kind, prior, codes, known, labels, steps=count, evaluations=2)
        digits = sane(steps, codes, known, kind)
        assert len(steps) == count or not hasattr(kind(), "steps")
        assert torch.equal(digits[known], codes.digits[known])
    assert torch.equal(codes.digits, given) and torch.equal(known, mask), "what was given was written to"


@paired
def test_sampler_draws_an_image_from_its_own_seed_whatever_its_batch(kind, of, condition):
    """Every step of image i, from a batch where each image has another number of known places."""
    prior, codes, labels = asked(of, condition)
    known, before = some_known(codes), torch.get_rng_state()
    whole = walk(kind, prior, codes, known, labels, steps=9)
    for rows in (torch.tensor([3, 1, 0, 2]), *torch.arange(4).split(1)):
        part = walk(kind, prior, codes[rows], known[rows], None if labels is None else labels[rows], rows.tolist(), steps=9)
        for a, b in zip(part, whole, strict=True):
            assert torch.equal(a.codes.digits, b.codes.digits[rows]) and torch.equal(a.known, b.known[rows])
    nothing_drawn_globally(before)


@each
def test_sampler_tells_the_same_entropy_in_any_batch(kind, of):
    """Also in the rounds in which an image reveals nothing, because it has fewer hidden places than rounds."""
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    known = some_known(codes)
    whole = walk(kind, prior, codes, known, labels, steps=9)
    assert all(any(step.entropy[i].any() for step in whole) for i in range(3))
    for i in range(4):
        alone = walk(kind, prior, codes[i], known[i : i + 1], labels[i : i + 1], [i], steps=9)
        for a, b in zip(alone, whole, strict=True):
            torch.testing.assert_close(a.entropy, b.entropy[i : i + 1], rtol=0, atol=1e-4)


@each
@torch.no_grad()
def test_sampler_batch_does_not_matter_where_everything_is_certain(kind, of):
    """Huge logits make all confidences equal, so that the order hangs on how ties are broken."""
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    last_layer(prior).weight.mul_(LAST_LAYER)
    known = some_known(codes)
    for temperature in (0.0, 1e39):  # the second is infinite in float32
        whole = walk(kind, prior, codes, known, labels, temperature=temperature)
        sane(whole, codes, known, kind)
        for i in range(4):
            alone = walk(kind, prior, codes[i], known[i : i + 1], labels[i : i + 1], [i], temperature=temperature)
            assert torch.equal(alone[-1].codes.digits, whole[-1].codes.digits[i : i + 1])


@each
@torch.no_grad()
def test_sampler_draws_another_image_from_another_seed(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    known = torch.zeros_like(some_known(codes))
    images = [walk(kind, prior, codes, known, labels, seeds)[-1].codes.digits for seeds in ([0, 1, 2, 3], [4, 5, 6, 7], [0, 9, 2, 8])]
    differ = (images[0] != images[1]).flatten(1).any(1)
    assert differ.all() and (images[0] == images[2]).flatten(1).all(1).tolist() == [True, False, True, False]


@paired
@torch.no_grad()
def test_sampler_changes_nothing_where_nothing_is_hidden(kind, of, condition):
    prior, codes, labels = asked(of, condition)
    known = torch.ones_like(some_known(codes))
    for count in (1, 3):
        assert torch.equal(sane(walk(kind, prior, codes, known, labels, steps=count), codes, known, kind), codes.digits)


@covering(", condition", list(CONDITIONS.values()), ways=1)
@torch.no_grad()
def test_sampler_takes_any_guidance(kind, of, condition):
    prior, codes, labels = asked(of, condition)
    known = some_known(codes)
    for scale, temperature in itertools.product((0.0, 0.5, 1.0, 10.0, -3.0), (0.0, 0.17, 1e38)):
        steps = walk(kind, prior, codes, known, labels, guidance_scale=scale, temperature=temperature, steps=2, evaluations=2)
        sane(steps, codes, known, kind)


@each
@torch.no_grad()
def test_sampler_guidance_means_what_it_says(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    strong = 5.0 if set(prior.radix) == {2} else 100.0  # one of many values hardly ever changes with the class alone
    known = torch.zeros_like(some_known(codes))

    def image(labels, scale):
        return walk(kind, prior, codes, known, labels, guidance_scale=scale)[-1].codes.digits

    assert torch.equal(image(labels, 1.0), image(labels, 1.0 + 1e-9)), "guidance 1 is the class alone"
    assert torch.equal(image(labels, 0.0), image(labels, 1e-9)), "guidance 0 is the null class"
    assert torch.equal(image(labels, 0.0), image(None, 5.0))
    assert not torch.equal(image(labels, strong), image(labels, 1.0)) and not torch.equal(image(labels, strong), image(labels, 0.0))
    assert not torch.equal(image(labels, strong), image(labels.flip(0), strong))
    assert strong > 5 or not torch.equal(image(labels, 1.0), image(labels, 0.0))


@each
@torch.no_grad()
def test_sampler_asks_for_no_more_branches_than_guidance_needs(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    bare, _, _ = asked(of, CONDITIONS["unconditional"])
    seen = []
    for part in (prior, bare):
        last_layer(part).register_forward_hook(lambda layer, given, out: seen.append(out.shape[:-1].numel()))
    known = torch.zeros_like(some_known(codes))
    places = len(codes) * (1 if kind in (RasterSpec, LlamaGenSamplerSpec) else codes.places)  # of which it asks at once
    for part, given, scale, branches in (
        (prior, labels, 2.5, 2),
        (prior, labels, 1.0, 1),
        (prior, labels, 0.0, 1),
        (prior, None, 2.5, 1),
        (bare, None, 2.5, 1),
    ):
        seen.clear()
        walk(kind, part, codes, known, given, steps=1, guidance_scale=scale)
        assert set(seen) == {branches * places}


@each
@torch.no_grad()
def test_sampler_takes_labels_as_class_weights(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    known, count = some_known(codes), prior.condition.classes
    one_hot = nn.functional.one_hot(labels, count).float()
    same = [walk(kind, prior, codes, known, given)[-1].codes.digits for given in (labels, one_hot)]
    assert torch.equal(*same)
    sane(walk(kind, prior, codes, known, torch.full((4, count), 1 / count)), codes, known, kind)


@each
@torch.no_grad()
def test_sampler_takes_any_number_of_evaluations(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    known = some_known(codes)
    for evaluations in (1, 2, 300):
        sane(walk(kind, prior, codes, known, labels, steps=2, evaluations=evaluations), codes, known, kind)


@covering(", condition, sample_last", list(CONDITIONS.values()), [True, False], ways=1)
@torch.no_grad()
def test_sampler_stays_finite_when_logits_are_huge(kind, of, condition, sample_last):
    prior, codes, labels = asked(of, condition)
    logits = (len(prior.radix), 2 ** len(prior.radix), *prior.radix, sum(prior.radix))
    assert last_layer(prior).out_features in logits, "the last layer gives them"
    last_layer(prior).weight.mul_(LAST_LAYER)
    known = some_known(codes)
    for scale, evaluations in itertools.product((0.0, 1.0, 10.0, -3.0), (1, 5)):
        settings = {"guidance_scale": scale, "evaluations": evaluations, "sample_last": sample_last, "steps": 3}
        sane(walk(kind, prior, codes, known, labels, **settings), codes, known, kind)


@pairs
def test_sampler_refuses_what_does_not_fit_before_the_first_step(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    known = some_known(codes)
    with pytest.raises(ValueError, match="generators: got 3 for 4 images"):
        walk(kind, prior, codes, known, labels, range(3))
    with pytest.raises(ValueError, match="known: got"):
        walk(kind, prior, codes, known.flatten(1), labels)
    with pytest.raises(ValueError, match="codes: grid"):
        walk(kind, prior, random_codes(prior.grid, (*prior.radix, 2), 4), known, labels)


@pairs
def test_sampler_passes_on_that_labels_mean_nothing(kind, of):
    prior, codes, _ = asked(of, CONDITIONS["unconditional"])
    with pytest.raises(ValueError, match="labels: .*None"):
        walk(kind, prior, codes, some_known(codes), torch.zeros(4, dtype=torch.int64))


@pairs
def test_sampler_leaves_the_callers_gradients_on_and_may_be_left_early(kind, of):
    prior, codes, labels = asked(of, CONDITIONS["classes"])
    sampler = with_settings(kind(), steps=4, evaluations=2).build()
    steps = sampler(prior, codes, some_known(codes), labels, [torch.Generator().manual_seed(s) for s in range(4)])
    step = next(steps)
    assert torch.is_grad_enabled() and not step.entropy.requires_grad
    kept = step.codes.digits.clone(), step.known.clone()
    next(steps)
    assert torch.equal(step.codes.digits, kept[0]) and torch.equal(step.known, kept[1]), "a later step wrote into an earlier one"
    steps.close()
    assert torch.is_grad_enabled()


@samplers
@pytest.mark.parametrize(
    "setting, wrong",
    [
        ("steps", 0),
        ("evaluations", 0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("guidance_scale", math.inf),
        ("guidance_scale", math.nan),
    ],
)
def test_sampler_settings_that_mean_nothing_are_refused(kind, setting, wrong):
    if hasattr(kind(), setting):
        with pytest.raises(ValueError, match=setting):
            dataclasses.replace(kind(), **{setting: wrong})


def test_samplers_are_called_as_users_call_them():
    assert {name: kind().build().name for name, kind in CALLED.items()} == {name: name for name in CALLED}
    assert set(FITS) == {kind().build().family for kind in PRIORS} and all(f in CALLED[name]().build().families for f, name in FITS.items())
