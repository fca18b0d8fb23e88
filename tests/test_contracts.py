"""The contracts of each room, held against every quantizer, tokenizer, prior and sampler that there is."""

import copy
import dataclasses
import inspect
import itertools
import math

import pytest
import torch
from cover import covered
from test_spec import specs
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.base import HeadedPrior
from bitmosaic.priors.head import HeadSpec
from bitmosaic.quantizers.base import Quantizer
from bitmosaic.samplers import SAMPLERS as CALLED
from bitmosaic.samplers import LlamaGenSamplerSpec, RasterSpec
from bitmosaic.samplers.base import FITS, Sampler
from bitmosaic.tokenizers.base import Tokenizer

LAST_LAYER = 1e4  # by how much the head's last weights are scaled where its logits shall be huge


def inhabitants(room, base):
    """Specs of a room that build a `base` by themselves, unlike those of parts made for another."""
    here = [kind for kind in specs() if kind.__module__.startswith(f"bitmosaic.{room}.")]
    alone = [kind for kind in here if len(inspect.signature(kind.build).parameters) == 1]
    return [kind for kind in alone if isinstance(kind().build(), base)]


def named(kinds):
    return {"argvalues": kinds, "ids": [kind.__name__ for kind in kinds]}


def shaken(part, seed=0, std=0.3):
    """`part` with weights that make it say something: fresh ones are so small that nothing depends on anything."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * std)
    return part.eval()


def with_settings(spec, **wanted):
    """`spec` with those of the settings that it has."""
    has = {f.name for f in dataclasses.fields(spec)}
    return dataclasses.replace(spec, **{name: value for name, value in wanted.items() if name in has})


def random_codes(grid, radix, batch, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Codes(torch.stack([torch.randint(r, (batch, *grid), generator=rng) for r in radix], -1), radix)


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_head(kind, head):
    """A prior's spec with that head, made as the spec's class makes one; None: it has its own."""
    if head is None:
        return kind

    def make():
        return dataclasses.replace(kind(), head=head())

    make.__name__ = f"{kind.__name__}-{head.__name__}"
    return make


def nothing_drawn_globally(state):
    assert torch.equal(torch.get_rng_state(), state), "a draw came from the global generator"


# ---- quantizers

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
    assert torch.equal(quantizer.encode(z).long(), digits)
    grid = digits[:6].view(1, 2, 3, -1)
    assert torch.equal(quantizer.encode(quantizer.decode(grid)).long(), grid)


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
    first, again = (quantizer(z, torch.Generator().manual_seed(3)).digits for _ in range(2))
    assert torch.equal(first, again)
    nothing_drawn_globally(before)


# ---- tokenizers

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


# ---- priors

CONDITIONS = {"classes": ClassConditionSpec(), "unconditional": NoConditionSpec()}
HEADS = [kind for kind in specs() if issubclass(kind, HeadSpec)]
PRIORS = [
    with_head(kind, head) for kind in inhabitants("priors", nn.Module)
    for head in (HEADS if "head" in (f.name for f in dataclasses.fields(kind)) else [None])
]  # fmt: skip
HEADED = [kind for kind in PRIORS if isinstance(kind().build(), HeadedPrior)]  # masked and causal ones
priors = pytest.mark.parametrize("kind", **named(PRIORS))
headed = pytest.mark.parametrize("kind", **named(HEADED))
DENOISING = [kind for kind in PRIORS if kind().build().family == "denoising"]
denoising = pytest.mark.parametrize("kind", **named(DENOISING))
conditions = pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)


def prior_and_codes(kind, condition, batch=4, seed=0):
    """A prior, codes that fit it, and labels or None."""
    prior = shaken(with_settings(kind(), condition=condition).build(), seed)
    labels = torch.arange(batch) % prior.condition.classes if prior.condition.classes else None
    return prior, random_codes(prior.grid, prior.radix, batch), labels


def half_known(codes, seed=0):
    known = torch.rand(codes.digits.shape[:-1], generator=torch.Generator().manual_seed(seed)) < 0.5
    known.flatten(1)[:, 0], known.flatten(1)[:, 1] = True, False  # some of both in every image
    return known


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


def denoised(prior, x_t, t, labels):
    return prior.denoise(x_t, torch.full((len(x_t),), t), prior.embed(labels, len(x_t)))


def noisy(prior, batch=4, seed=0):
    """x_t (b, N), with every state of the chain."""
    x_t = torch.randint(prior.chain.states, (batch, math.prod(prior.grid)), generator=torch.Generator().manual_seed(seed))
    x_t[:, 0], x_t[:, 1] = prior.chain.states - 1, 0
    return x_t


@denoising
@conditions
@torch.no_grad()
def test_denoising_prior_gives_a_law_of_clean_codes_at_any_time(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    seen = [denoised(prior, noisy(prior), t, labels) for t in (1, prior.chain.steps // 2, prior.chain.steps)]
    for log_p in seen:
        assert log_p.shape == (4, codes.places, *prior.radix) and log_p.dtype == torch.float32
        torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(4, codes.places), rtol=0, atol=1e-5)
    assert not torch.allclose(seen[0], seen[2], atol=1e-3), "the time is not seen"
    assert not torch.allclose(denoised(prior, noisy(prior, seed=1), 1, labels), seen[0], atol=1e-3)


@denoising
@torch.no_grad()
def test_denoising_prior_sees_the_class(kind):
    prior, _, labels = prior_and_codes(kind, CONDITIONS["classes"])
    x_t = noisy(prior)
    seen, null = denoised(prior, x_t, 3, labels), denoised(prior, x_t, 3, None)
    one_hot = nn.functional.one_hot(labels, prior.condition.classes).float()
    torch.testing.assert_close(denoised(prior, x_t, 3, one_hot), seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(denoised(prior, x_t, 3, torch.full_like(labels, prior.condition.classes)), null, rtol=0, atol=1e-5)
    assert not torch.allclose(null, seen, atol=1e-3) and not torch.allclose(denoised(prior, x_t, 3, labels.flip(0)), seen, atol=1e-3)


@denoising
@conditions
@torch.no_grad()
def test_denoising_prior_says_the_same_in_any_batch_and_from_its_state(kind, condition):
    prior, codes, labels = prior_and_codes(kind, condition)
    x_t, order = noisy(prior), torch.tensor([2, 0, 3, 1])
    seen, features = denoised(prior, x_t, 5, labels), prior.features(codes, labels, 0)
    for rows in (order, *torch.arange(4).split(1)):
        some = None if labels is None else labels[rows]
        torch.testing.assert_close(denoised(prior, x_t[rows], 5, some), seen[rows], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(prior.features(codes[rows], some, 0), features[rows], rtol=1e-4, atol=1e-4)
    other, _, _ = prior_and_codes(kind, condition, seed=1)
    other.load_state_dict(copy.deepcopy(prior.state_dict()))
    assert torch.equal(denoised(other, x_t, 5, labels), seen)


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


# ---- samplers

SAMPLERS = inhabitants("samplers", Sampler)
samplers = pytest.mark.parametrize("kind", **named(SAMPLERS))


def suits(sampler, of):
    """Whether a sampler asks such priors."""
    asks, prior = sampler().build(), of().build()
    return prior.family in asks.families and (not asks.of_indices or prior.head.of_indices)


PAIRS = [(kind, of) for kind in SAMPLERS for of in PRIORS if suits(kind, of)]
pairs = pytest.mark.parametrize("kind, of", PAIRS, ids=[f"{kind.__name__}-{of.__name__}" for kind, of in PAIRS])


def paired(names, *factors):
    """Samplers, priors that suit them, conditions and more: every pair of values of two of these, and in `make slow` the full product."""
    return pytest.mark.parametrize(
        f"kind, of, condition{names}", covered(SAMPLERS, PRIORS, list(CONDITIONS.values()), *factors, fits=lambda *some: some[:2] in PAIRS)
    )


def some_known(codes, hidden=(16, 9, 3, 0)):
    """Which places are known, (b, *grid): image i has about hidden[i] of 16 places hidden."""
    known = torch.ones(len(codes), codes.places, dtype=torch.bool)
    for i, row in enumerate(known):
        count = math.ceil(hidden[i % len(hidden)] * codes.places / 16)
        row[torch.randperm(codes.places, generator=torch.Generator().manual_seed(i))[:count]] = False
    return known.view(codes.digits.shape[:-1])


def walk(kind, prior, codes, known, labels, seeds=None, **settings):
    """All steps of a sampler with few steps and evaluations unless told."""
    sampler = with_settings(kind(), **{"steps": 5, "evaluations": 3, **settings}).build()
    seeds = range(len(codes)) if seeds is None else seeds
    return list(sampler(prior, codes, known, labels, [torch.Generator().manual_seed(s) for s in seeds]))


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


@paired("")
@torch.no_grad()
def test_sampler_fills_every_place_in_any_number_of_steps(kind, of, condition):
    prior, codes, labels = prior_and_codes(of, condition)
    known = some_known(codes)
    given, mask = codes.digits.clone(), known.clone()
    for count in (1, 2, 3, 5, 8, codes.places - 1, codes.places, codes.places + 5):
        steps = walk(kind, prior, codes, known, labels, steps=count, evaluations=2)
        digits = sane(steps, codes, known, kind)
        assert len(steps) == count or not hasattr(kind(), "steps")
        assert torch.equal(digits[known], codes.digits[known])
    assert torch.equal(codes.digits, given) and torch.equal(known, mask), "what was given was written to"


@paired("")
def test_sampler_draws_an_image_from_its_own_seed_whatever_its_batch(kind, of, condition):
    """Every step of image i, from a batch where each image has another number of known places."""
    prior, codes, labels = prior_and_codes(of, condition)
    known, before = some_known(codes), torch.get_rng_state()
    whole = walk(kind, prior, codes, known, labels, steps=9)
    for rows in (torch.arange(4), torch.tensor([3, 1, 0, 2]), *torch.arange(4).split(1)):
        part = walk(kind, prior, codes[rows], known[rows], None if labels is None else labels[rows], rows.tolist(), steps=9)
        for a, b in zip(part, whole, strict=True):
            assert torch.equal(a.codes.digits, b.codes.digits[rows]) and torch.equal(a.known, b.known[rows])
    nothing_drawn_globally(before)


@pairs
def test_sampler_tells_the_same_entropy_in_any_batch(kind, of):
    """Also in the rounds in which an image reveals nothing, because it has fewer hidden places than rounds."""
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    known = some_known(codes)
    whole = walk(kind, prior, codes, known, labels, steps=9)
    assert all(any(step.entropy[i].any() for step in whole) for i in range(3))
    for i in range(4):
        alone = walk(kind, prior, codes[i], known[i : i + 1], labels[i : i + 1], [i], steps=9)
        for a, b in zip(alone, whole, strict=True):
            torch.testing.assert_close(a.entropy, b.entropy[i : i + 1], rtol=0, atol=1e-4)


@pairs
@torch.no_grad()
def test_sampler_batch_does_not_matter_where_everything_is_certain(kind, of):
    """Huge logits make all confidences equal, so that the order hangs on how ties are broken."""
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    last_layer(prior).weight.mul_(LAST_LAYER)
    known = some_known(codes)
    for temperature in (0.0, 1e39):  # the second is infinite in float32
        whole = walk(kind, prior, codes, known, labels, temperature=temperature)
        sane(whole, codes, known, kind)
        for i in range(4):
            alone = walk(kind, prior, codes[i], known[i : i + 1], labels[i : i + 1], [i], temperature=temperature)
            assert torch.equal(alone[-1].codes.digits, whole[-1].codes.digits[i : i + 1])


@pairs
@torch.no_grad()
def test_sampler_draws_another_image_from_another_seed(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    known = torch.zeros_like(some_known(codes))
    images = [walk(kind, prior, codes, known, labels, seeds)[-1].codes.digits for seeds in ([0, 1, 2, 3], [4, 5, 6, 7], [0, 9, 2, 8])]
    differ = (images[0] != images[1]).flatten(1).any(1)
    assert differ.all() and (images[0] == images[2]).flatten(1).all(1).tolist() == [True, False, True, False]


@paired("")
@torch.no_grad()
def test_sampler_changes_nothing_where_nothing_is_hidden(kind, of, condition):
    prior, codes, labels = prior_and_codes(of, condition)
    known = torch.ones_like(some_known(codes))
    for count in (1, 3):
        assert torch.equal(sane(walk(kind, prior, codes, known, labels, steps=count), codes, known, kind), codes.digits)


@paired(", scale", [0.0, 0.5, 1.0, 10.0, -3.0])
@torch.no_grad()
def test_sampler_takes_any_guidance(kind, of, condition, scale):
    prior, codes, labels = prior_and_codes(of, condition)
    known = some_known(codes)
    for temperature in (0.0, 0.17, 1e6, 1e38):
        sane(walk(kind, prior, codes, known, labels, guidance_scale=scale, temperature=temperature), codes, known, kind)


@pairs
@torch.no_grad()
def test_sampler_guidance_means_what_it_says(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
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


@pairs
@torch.no_grad()
def test_sampler_asks_for_no_more_branches_than_guidance_needs(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    bare, _, _ = prior_and_codes(of, CONDITIONS["unconditional"])
    seen = []
    for part in (prior, bare):
        last_layer(part).register_forward_hook(lambda layer, given, out: seen.append(out.shape[:-1].numel()))
    known = torch.zeros_like(some_known(codes))
    asked = len(codes) * (1 if kind in (RasterSpec, LlamaGenSamplerSpec) else codes.places)  # places at once
    for part, given, scale, branches in (
        (prior, labels, 2.5, 2),
        (prior, labels, 1.0, 1),
        (prior, labels, 0.0, 1),
        (prior, None, 2.5, 1),
        (bare, None, 2.5, 1),
    ):
        seen.clear()
        walk(kind, part, codes, known, given, steps=1, guidance_scale=scale)
        assert set(seen) == {branches * asked}


@pairs
@torch.no_grad()
def test_sampler_takes_labels_as_class_weights(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    known, count = some_known(codes), prior.condition.classes
    one_hot = nn.functional.one_hot(labels, count).float()
    same = [walk(kind, prior, codes, known, given)[-1].codes.digits for given in (labels, one_hot)]
    assert torch.equal(*same)
    sane(walk(kind, prior, codes, known, torch.full((4, count), 1 / count)), codes, known, kind)


@paired(", evaluations", [1, 2, 300])
@torch.no_grad()
def test_sampler_takes_any_number_of_evaluations(kind, of, condition, evaluations):
    prior, codes, labels = prior_and_codes(of, condition)
    known = some_known(codes)
    sane(walk(kind, prior, codes, known, labels, steps=2, evaluations=evaluations), codes, known, kind)


def last_layer(prior):
    """Which gives the logits."""
    part = prior.head if isinstance(prior, HeadedPrior) else prior
    return [module for module in part.modules() if isinstance(module, nn.Linear)][-1]


@paired(", sample_last", [True, False])
@torch.no_grad()
def test_sampler_stays_finite_when_logits_are_huge(kind, of, condition, sample_last):
    prior, codes, labels = prior_and_codes(of, condition)
    logits = (len(prior.radix), 2 ** len(prior.radix), *prior.radix, sum(prior.radix))
    assert last_layer(prior).out_features in logits, "the last layer gives them"
    last_layer(prior).weight.mul_(LAST_LAYER)
    known = some_known(codes)
    for scale in (0.0, 1.0, 2.5, 10.0, -3.0):
        for evaluations in (1, 5):
            settings = {"guidance_scale": scale, "evaluations": evaluations, "sample_last": sample_last}
            sane(walk(kind, prior, codes, known, labels, **settings), codes, known, kind)


@pairs
def test_sampler_refuses_what_does_not_fit_before_the_first_step(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
    known = some_known(codes)
    with pytest.raises(ValueError, match="generators: got 3 for 4 images"):
        walk(kind, prior, codes, known, labels, range(3))
    with pytest.raises(ValueError, match="known: got"):
        walk(kind, prior, codes, known.flatten(1), labels)
    with pytest.raises(ValueError, match="codes: grid"):
        walk(kind, prior, random_codes(prior.grid, (*prior.radix, 2), 4), known, labels)


@pairs
def test_sampler_passes_on_that_labels_mean_nothing(kind, of):
    prior, codes, _ = prior_and_codes(of, CONDITIONS["unconditional"])
    with pytest.raises(ValueError, match="labels: .*None"):
        walk(kind, prior, codes, some_known(codes), torch.zeros(4, dtype=torch.int64))


@pairs
def test_sampler_leaves_the_callers_gradients_on_and_may_be_left_early(kind, of):
    prior, codes, labels = prior_and_codes(of, CONDITIONS["classes"])
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


def test_every_room_is_inhabited():
    assert HEADED and DENOISING and set(PRIORS) == {*HEADED, *DENOISING}
    assert QUANTIZERS and TOKENIZERS and PRIORS and SAMPLERS
