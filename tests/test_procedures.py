"""Procedures of head and samplers: what draws the same law does, and what draws another does what it says."""

import importlib.util
import itertools
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from parts import CONDITIONS, half_known, prior_and_codes, walk
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.commands.drawing import Settings
from bitmosaic.pipelines import Pipeline
from bitmosaic.pipelines.generator import NoiseSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes import fashion
from bitmosaic.samplers import (
    DEFAULT,
    PRESETS,
    SAMPLERS,
    SETTINGS,
    EntropyOrderedSpec,
    LlamaGenSamplerSpec,
    MarginalsFirstSpec,
    RasterSpec,
    masked,
    settings_of,
)
from bitmosaic.samplers.guidance import scale_of_round
from bitmosaic.spec import Spec

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def published():
    if not BENCHMARKS.is_dir():
        pytest.skip("benchmarks/ is not here, where the published arithmetic stands")
    spec = importlib.util.spec_from_file_location("published", BENCHMARKS / "published.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Oracle(nn.Module):
    """A head's network that knows the law of x_0: it gives the logits of P(x_0^k = 1 | x_t) by Bayes' rule."""

    def __init__(self, law, steps):
        super().__init__()
        self.steps, self.law, self.asked = steps, law, []
        self.states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=int(math.log2(len(law))))))

    def from_condition(self, condition):
        return condition

    def embed_time(self, t):
        return t + 1  # the timestep itself

    def forward(self, x, time, condition):
        self.asked.append(x.shape[1])
        k = (1 - time.float() / self.steps).expand(x.shape[1])[:, None, None]
        same = (x[0][:, None] > 0) == (self.states > 0.5)
        likelihood = torch.where(same, (1 + k) / 2, (1 - k) / 2).prod(-1)  # (m, states)
        posterior = likelihood * self.law
        p = (posterior @ self.states) / posterior.sum(-1, keepdim=True)
        return p.clamp(1e-6, 1 - 1e-6).logit().expand(len(x), -1, -1)


def oracle(steps=256):
    """A head over three bits of which the first two are mostly equal and the third mostly their XOR."""
    law = torch.tensor([0.36, 0.02, 0.01, 0.07, 0.03, 0.11, 0.38, 0.02])
    head = BernoulliDiffusionSpec(steps=steps, target="x_0").build(3, 4).eval()
    head.net = Oracle(law, steps)
    return head, law


def draw(head, evaluations, m, sample_last=True):
    rng = torch.Generator().manual_seed(0)
    return head.draw(torch.zeros(1, m, 4), 1.0, evaluations, lambda: torch.rand(m, 3, generator=rng), sample_last)


@torch.no_grad()
def test_marginals_of_a_perfect_head_are_the_marginals():
    head, law = oracle()
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    p = head.marginals(torch.zeros(1, 50, 4), 1.0, torch.rand(50, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(p, (law @ states).expand(50, 3), rtol=0, atol=1e-5)


@torch.no_grad()
def test_without_a_last_draw_the_same_noise_gives_rounded_bits():
    head, _ = oracle()
    drawn, p = draw(head, 3, m=500, sample_last=False)
    assert torch.equal(drawn, p > 0.5)


@torch.no_grad()
def test_one_round_has_the_law_of_the_published_arithmetic(published):
    """Per-bit marginals and pairwise correlations of many chains under fixed conditions: all places, two calls an evaluation, embeddings
    recomputed there; hidden places, one call, embeddings once here."""
    torch.manual_seed(0)
    prior = MaskedPriorSpec((2, 2), 5, depth=2, heads=2, width=16).build().eval()
    for p in prior.parameters():
        p.copy_(torch.randn(p.shape) * 0.7)
    spec, m = EntropyOrderedSpec(steps=4, evaluations=12, guidance_scale=2.5), 6000
    digits = torch.randint(0, 2, (1, 4, 5), dtype=torch.uint8)
    known = torch.tensor([[False, True, False, False]])
    given, null = (prior.context(digits, known, prior.embed(label, 1)) for label in (torch.tensor([1]), None))
    rng = torch.Generator().manual_seed(1)

    def uniform():
        return torch.rand(m * 4, 5, generator=rng)

    p = published.chain(prior, given[0].repeat(m, 1), null[0].repeat(m, 1), spec.guidance_scale, spec.evaluations, uniform)
    theirs = (uniform() < p).view(m, 4, 5)[:, [0, 2, 3]].flatten(1).float()
    hidden = torch.stack([given, null])[:, 0][:, [0, 2, 3]].repeat(1, m, 1)
    rng = torch.Generator().manual_seed(2)
    ours, _ = prior.head.draw(
        hidden, spec.guidance_scale, spec.evaluations, lambda: torch.rand(m * 3, 5, generator=rng)
    )
    ours = ours.view(m, 15).float()
    assert (theirs.mean(0) - ours.mean(0)).abs().max() < 4.5 * math.sqrt(0.5 / m)
    pairs = [x.T @ x / m for x in (theirs, ours)]
    assert (pairs[0] - pairs[1]).abs().max() < 4.5 * math.sqrt(0.5 / m)
    spread = (pairs[1] - torch.outer(ours.mean(0), ours.mean(0))).fill_diagonal_(0).abs().max()
    assert spread > 0.04, "bits of a place must hang together for this to tell anything"


@pytest.mark.parametrize("count", [240, pytest.param(1500, marks=pytest.mark.slow)])
@torch.no_grad()
def test_whole_images_have_the_law_of_the_published_arithmetic(published, count):
    """The same for samples: places in order of confidence, known ones never asked again."""
    torch.manual_seed(1)
    prior = MaskedPriorSpec((2, 2), 4, depth=1, heads=2, width=16).build().eval()
    for p in prior.parameters():
        p.copy_(torch.randn(p.shape) * 0.4)
    spec, m = EntropyOrderedSpec(steps=3, evaluations=5, guidance_scale=2.0, temperature=0.1), 1500
    theirs = torch.stack([published.sample(prior, 2, spec, seed) for seed in range(count)]).flatten(1).float()
    codes = Codes(torch.zeros(m, 2, 2, 4, dtype=torch.uint8), prior.radix)
    known, labels = torch.zeros(m, 2, 2, dtype=torch.bool), torch.full((m,), 2)
    *_, last = spec.build()(prior, codes, known, labels, [torch.Generator().manual_seed(10_000 + s) for s in range(m)])
    ours = last.codes.digits.flatten(1).float()
    bound = 4.5 * math.sqrt(0.25 / m + 0.25 / count)
    assert (theirs.mean(0) - ours.mean(0)).abs().max() < bound
    assert (theirs.T @ theirs / count - ours.T @ ours / m).abs().max() < bound
    assert (ours.mean(0) - 0.5).abs().max() > bound


@torch.no_grad()
def test_a_shortlist_of_all_is_the_published_law():
    prior, codes, labels = prior_and_codes(MaskedPriorSpec, CONDITIONS["classes"])
    known = torch.zeros(len(codes), *codes.grid, dtype=torch.bool)
    wanted = walk(EntropyOrderedSpec, prior, codes, known, labels)[-1].codes.digits
    assert torch.equal(walk(MarginalsFirstSpec, prior, codes, known, labels, shortlist=1e6)[-1].codes.digits, wanted)
    assert not torch.equal(walk(MarginalsFirstSpec, prior, codes, known, labels, shortlist=1.0)[-1].codes.digits, wanted)


@torch.no_grad()
def test_a_shortlist_of_one_reveals_the_places_whose_marginals_are_surest():
    prior, codes, labels = prior_and_codes(MaskedPriorSpec, CONDITIONS["classes"])
    codes, labels = codes[0], labels[:1]
    plain, seen = prior.head.marginals, []

    def marginals(*args):
        seen.append(plain(*args))
        return seen[-1]

    prior.head.marginals = marginals
    known = torch.zeros(1, *codes.grid, dtype=torch.bool)
    steps = walk(MarginalsFirstSpec, prior, codes, known, labels, shortlist=1.0, temperature=0.0)
    revealed, sure = steps[0].known.flatten(), (2 * seen[0] - 1).abs().mean(-1)
    assert 1 <= revealed.sum() < codes.places
    assert sure[revealed].min() >= sure[~revealed].max()


def rows_asked(prior, kind, codes, known, labels, **given):
    """Places that the head was asked about, times evaluations, in all rounds; branches count once."""
    asked = []
    hook = prior.head.net.register_forward_pre_hook(lambda net, args: asked.append(args[0].shape[1]))
    walk(kind, prior, codes, known, labels, **given)
    hook.remove()
    return sum(asked)


@torch.no_grad()
def test_each_saving_asks_the_head_less():
    prior, codes, labels = prior_and_codes(MaskedPriorSpec, CONDITIONS["classes"])
    codes, labels = codes[0], labels[:1]
    known = torch.zeros(1, *codes.grid, dtype=torch.bool)
    places, settings = codes.places, {"steps": 8, "evaluations": 6, "temperature": 0.0}  # no noise that would rule places out
    hidden = [math.floor(math.cos(math.pi / 2 * i / 8) * places) for i in range(8)]  # before each round
    assert rows_asked(prior, EntropyOrderedSpec, codes, known, labels, **settings) == 6 * sum(hidden)
    marginals = sum(hidden[:-1])  # the last round reveals all that is left and needs no order
    assert rows_asked(prior, MarginalsFirstSpec, codes, known, labels, shortlist=1.0, **settings) == marginals + 6 * places
    twice = rows_asked(prior, MarginalsFirstSpec, codes, known, labels, shortlist=2.0, **settings)
    assert marginals + 6 * places < twice <= marginals + 2 * 6 * places


@pytest.mark.parametrize("sureness", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("kind", [EntropyOrderedSpec, MarginalsFirstSpec])
@torch.no_grad()
def test_chains_that_noise_rules_out_do_not_walk_and_nothing_changes(kind, sureness, monkeypatch):
    prior, codes, labels = prior_and_codes(MaskedPriorSpec, CONDITIONS["classes"])
    prior.head.net.out.bias -= sureness  # of logits that say which bits are still flipped: chains end surer
    known = half_known(codes)
    settings = {"steps": 6, "evaluations": 4, "temperature": 0.17}
    steps, asked = {}, {}
    for slack in (math.inf, 0.1, 0.0):
        monkeypatch.setattr(masked, "SLACK", slack)
        steps[slack] = walk(kind, prior, codes, known, labels, **settings)
        asked[slack] = rows_asked(prior, kind, codes, known, labels, **settings)
    for slack in (0.1, 0.0):
        for a, b in zip(steps[math.inf], steps[slack], strict=True):
            assert torch.equal(a.known, b.known) and torch.equal(a.codes.digits, b.codes.digits)
        assert asked[slack] <= asked[math.inf]
    if sureness == 4.0 and kind is EntropyOrderedSpec:
        assert asked[0.1] < 0.6 * asked[math.inf]
        asked_of = [(step.entropy > 0) | known for step in steps[0.1]]
        assert not all(bool(a.all()) for a in asked_of[:-1]), "entropy is told of places whose chains did not walk"


def test_guidance_rises_as_it_says():
    constant = [scale_of_round("constant", 3.0, 2.0, 0.0, i / 10) for i in range(1, 11)]
    assert constant == [3.0] * 10
    rising = [scale_of_round("power-cosine", 3.0, 2.0, 0.0, i / 10) for i in range(1, 11)]
    assert rising == sorted(rising) and rising[-1] == pytest.approx(3.0) and rising[0] == pytest.approx(1.0, abs=0.01)
    assert rising[4] == pytest.approx(1 + 2 * (1 - math.cos(math.pi * 0.25)) / 2)
    later = [scale_of_round("power-cosine", 3.0, 4.0, 0.0, i / 10) for i in range(1, 10)]
    assert all(a < b for a, b in zip(later, rising, strict=False))
    assert [scale_of_round("constant", 3.0, 2.0, 0.3, i / 10) for i in range(1, 6)] == [1.0] * 3 + [3.0] * 2


@torch.no_grad()
def test_rounds_without_guidance_run_one_branch():
    prior, codes, labels = prior_and_codes(MaskedPriorSpec, CONDITIONS["classes"])
    known, seen = torch.zeros(len(codes), *codes.grid, dtype=torch.bool), []
    prior.head.net.register_forward_pre_hook(lambda net, args: seen.append(len(args[0])))
    walk(EntropyOrderedSpec, prior, codes, known, labels, steps=4, evaluations=1, unguided=0.5, temperature=0.0)
    assert seen == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (MarginalsFirstSpec, {"shortlist": 0.5}), (MarginalsFirstSpec, {"shortlist": math.nan}),
        (MarginalsFirstSpec, {"marginal_draws": 0}),
        (EntropyOrderedSpec, {"guidance_power": 0.0}), (EntropyOrderedSpec, {"unguided": 1.5}),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_pipeline_takes_another_sampler_by_name_or_spec_and_keeps_its_own_values():
    pipeline = Pipeline.from_pretrained("fashion")
    pipeline.sampler = EntropyOrderedSpec(3, 2, 1.5, 0.02)
    spec = pipeline.settings("marginals-first", shortlist=7.0, num_inference_steps=4)
    assert spec == MarginalsFirstSpec(4, 2, 1.5, 0.02, shortlist=7.0)
    named = pipeline("bag", 3, sampler="marginals-first", shortlist=1.0, output_type="pt")
    assert pipeline.settings("looks", steps=3) == replace(PRESETS["looks"], steps=3)
    assert pipeline.settings("fast", guidance_scale=2.5) == replace(DEFAULT, guidance_scale=2.5)
    given = pipeline("bag", 3, sampler=MarginalsFirstSpec(3, 2, 1.5, 0.02, shortlist=1.0), output_type="pt")
    assert torch.equal(named, given) and not torch.equal(named, pipeline("bag", 3, output_type="pt"))
    with pytest.raises(ValueError, match="no sampler 'fastest'; there are entropy-ordered, marginals-first, raster"):
        pipeline.settings("fastest")
    with pytest.raises(ValueError, match="EntropyOrderedSpec has no setting shortlist"):
        pipeline("bag", 3, shortlist=3.0)
    for wrong, value in (("guidance_schedule", "linear"), ("num_inference_steps", 2.5), ("evaluations", "3")):
        with pytest.raises(ValueError, match="guidance_schedule|steps|evaluations"):
            pipeline("bag", 3, **{wrong: value})
    assert pipeline("bag", 3, sampler="marginals-first", shortlist=1e308, output_type="pt").isfinite().all()


def test_what_a_pipeline_returns_may_be_written_to_and_learned_from():
    pipeline = Pipeline.from_pretrained("fashion")
    codes = pipeline.encode(pipeline("bag", 3, num_inference_steps=1, evaluations=1))
    codes.digits[0, 0, 0] = 1
    layer = nn.Linear(192, 2)
    layer(pipeline.features(pipeline.decode(codes), pool=False)).sum().backward()
    assert layer.weight.grad is not None and pipeline.decode(codes, "pt").add_(1).min() >= 1


def test_the_help_says_of_fast_what_it_is():
    told, own = " ".join(Settings.__doc__.split()), Pipeline.from_pretrained("fashion").sampler
    fast = PRESETS["fast"]
    preset = f"fast, {fast.steps} rounds of {fast.evaluations} evaluations with guidance {fast.guidance_scale} and temperature "
    assert f"{preset}{fast.temperature} " in told
    assert f"{own.guidance_scale} and {own.temperature}" in told  # what the shipped pipeline has instead
    assert replace(own, guidance_scale=fast.guidance_scale, temperature=fast.temperature) == fast


def test_settings_are_described_once():
    """The command line and the studio's requests offer those of the table, which samplers or generators have, with one range."""
    from bitmosaic.web.requests import Settings as Requested

    names = [field.name for field in fields(Settings)]
    assert names == [*Requested.model_fields] == ["sampler", *SETTINGS]
    specs = [*(spec() for spec in SAMPLERS.values()), NoiseSpec()]
    assert {name for spec in specs for name in settings_of(spec)} == {*SETTINGS}
    for spec in specs:
        for name in settings_of(spec):
            ends = (SETTINGS[name].least, SETTINGS[name].most)
            outside = [x + way for x, way in zip(ends, (-1, 1), strict=True) if math.isfinite(x)] + [math.nan, math.inf]
            for value in outside:
                with pytest.raises(ValueError, match=f"^{name}: got .*; want a "):
                    replace(spec, **{name: value})
                if math.isfinite(value):
                    with pytest.raises(ValueError, match=name):
                        Requested.model_validate({name: value})
    with pytest.raises(ValueError, match="top_p: got 0; want a finite number of more than 0, at most 1"):
        LlamaGenSamplerSpec(top_p=0)


def test_the_default_is_what_the_map_chose():
    """docs/quality_speed.json names the fastest point that is as good as the published law; pipeline, recipe and zoo use it.

    The shipped pipeline asks for other guidance and temperature since it was trained again (docs/log.md, 2026-11-25).
    """
    own = replace(DEFAULT, guidance_scale=1.75, temperature=0.25)
    assert fashion().sampler == Pipeline.from_pretrained("fashion").sampler == own
    shipped = Pipeline.from_pretrained("fashion")
    assert Pipeline(shipped.tokenizer, shipped.prior).sampler == DEFAULT
    path = BENCHMARKS.parent / "docs" / "quality_speed.json"
    if not path.is_file():
        pytest.skip("docs/ is not here, where the map stands")
    told = json.loads(path.read_text())
    points = {point["name"]: point for point in told["points"]}
    law, chosen = points["published law"], points[told["chosen"]]
    assert Spec.from_json(chosen["sampler"]) == DEFAULT and chosen["seconds"] < law["seconds"]
    assert chosen["frechet"] <= max(1.03 * law["frechet"], *law["frechet_of_runs"])
    assert len(chosen["samples"]) == len(law["samples"]) == 3 and min(*chosen["samples"], *law["samples"]) >= 5000


def test_a_pipeline_keeps_any_sampler(tmp_path):
    pipeline = Pipeline.from_pretrained("fashion")
    pipeline.sampler = spec = MarginalsFirstSpec(4, 3)
    pipeline.save_pretrained(tmp_path / "p")
    again = Pipeline.from_pretrained(tmp_path / "p")
    assert again.sampler == spec
    assert torch.equal(again("bag", 3, output_type="pt"), pipeline("bag", 3, output_type="pt"))


@pytest.mark.parametrize("kind", [EntropyOrderedSpec, MarginalsFirstSpec, RasterSpec])
def test_descriptions_of_when_there_were_several_procedures_are_read(kind):
    told = kind().to_json()
    assert "procedure" not in told and Spec.from_json({**told, "procedure": "chain"}) == kind()
    with pytest.raises(ValueError, match="procedure: got 'posterior', which was taken away; there is 'chain' alone"):
        Spec.from_json({**told, "procedure": "posterior"})


@torch.no_grad()
def test_likelihoods_of_a_perfect_head_are_of_a_law_near_its_own():
    head, law = oracle()
    codes, rng = torch.tensor(list(itertools.product((0, 1), repeat=3)), dtype=torch.uint8), torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        noise = torch.rand(2, 1, 3, generator=rng).expand(-1, 8, -1)  # one order and noise for all codes
        draws = iter(noise)
        found.append(head.log_likelihood(codes, torch.zeros(1, 8, 4), lambda draws=draws: next(draws)))
    found = torch.stack(found)
    assert torch.allclose(found.exp().sum(1), torch.ones(400), atol=1e-4)
    entropy, cost = float(-(law * law.log2()).sum()), float(-(law * found.mean(0)).sum()) / math.log(2)
    apart = float(-(law[codes.sum(1) >= 0] * sum(marginal(law, codes, i) for i in range(3))).sum())
    assert entropy <= cost < entropy + 0.5 * (apart - entropy)  # bits of a place hang together, and the estimate knows


def marginal(law, codes, i):
    one = float((law * codes[:, i]).sum())
    return torch.where(codes[:, i].bool(), one, 1 - one).log2()
