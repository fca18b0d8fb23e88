"""Bernoulli diffusion: its timesteps, its closed-form jump against the long way, and the law of its chain."""

import itertools
import math

import pytest
import torch

from bitmosaic.codes import Codes
from bitmosaic.losses.bernoulli import weighted_bce
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec, chain_timesteps, jump_probability, keep_probability
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec


def head(bits=3, condition=5, seed=0, **settings):
    """A head whose weights make it say something."""
    part = BernoulliDiffusionSpec(**settings).build(bits, condition).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in part.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * 0.3)
    return part


def uniforms(m, bits, count=400, seed=0):
    """`uniform` for a chain, and how often it was called."""
    rng, calls = torch.Generator().manual_seed(seed), []

    def uniform():
        calls.append(len(calls))
        assert len(calls) <= count
        return torch.rand(m, bits, generator=rng)

    return uniform, calls


# ---- timesteps


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 100, 255, 256, 1000])
def test_timesteps_descend_from_the_first_to_the_last(steps):
    for evaluations in sorted({1, 2, 3, steps // 2 + 1, max(1, steps - 1), steps, steps + 1, steps + 9, 10 * steps}):
        t = chain_timesteps(evaluations, steps)
        assert len(t) == min(evaluations, steps) and all(isinstance(i, int) for i in t)
        assert t[0] == steps and (t[-1] == 1 or evaluations == 1)
        assert all(a > b for a, b in itertools.pairwise(t)), f"{evaluations} of {steps} visit a timestep twice"
        if evaluations >= steps:
            assert t == list(range(steps, 0, -1))
        elif evaluations > 1:
            gap = (steps - 1) / (evaluations - 1)
            assert all(abs(a - b - gap) <= 1 for a, b in itertools.pairwise(t)), "evenly spread"


def test_one_evaluation_stands_where_all_is_noise():
    assert chain_timesteps(1, 256) == [256] and chain_timesteps(1, 1) == [1]


@pytest.mark.parametrize("evaluations", [0, -3])
def test_no_evaluation_is_refused(evaluations):
    with pytest.raises(ValueError, match=rf"evaluations: got {evaluations}"):
        chain_timesteps(evaluations, 256)


def test_keep_probability_falls_in_a_line_from_all_to_nothing():
    k = keep_probability(torch.arange(257), 256)
    assert k.dtype == torch.float32 and k[0] == 1 and k[256] == 0
    torch.testing.assert_close(k.diff(), torch.full((256,), -1 / 256))


# ---- the jump

T = 12
JUMPS = [(t, s) for t in range(1, T + 1) for s in range(t)]


def transition(keep):
    """q(x_after | x_before) as [before, after]: kept with `keep`, else a fair coin."""
    return torch.tensor([[(1 + keep) / 2, (1 - keep) / 2], [(1 - keep) / 2, (1 + keep) / 2]], dtype=torch.float64)


def many(start, end):
    """q(x_end | x_start), one timestep after the other."""
    k = [1 - i / T for i in range(T + 1)]
    steps = [transition(k[u] / k[u - 1]) for u in range(start + 1, end + 1)]
    return torch.linalg.multi_dot([torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), *steps])


def the_long_way(p_0, x_t, t, s):
    """P(x_s = 1 | x_t) by Bayes' rule over both values of x_0 and of x_s."""
    prior = torch.tensor([1 - p_0, p_0], dtype=torch.float64)
    joint = torch.einsum("a,ab,b->b", prior, many(0, s), many(s, t)[:, x_t])  # P(x_s, x_t)
    return (joint[1] / joint.sum()).item()


def jump(p_0, x_t, t, s):
    return jump_probability(torch.tensor([p_0]), torch.tensor([x_t], dtype=torch.uint8), 1 - t / T, 1 - s / T).item()


def test_many_small_transitions_are_the_forward_process():
    for t in range(T + 1):
        assert torch.allclose(many(0, t), transition(1 - t / T))


@pytest.mark.parametrize("p_0", [0.0, 0.01, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("x_t", [0, 1])
def test_jump_is_bayes_rule_over_many_small_transitions(p_0, x_t):
    for t, s in JUMPS:
        assert jump(p_0, x_t, t, s) == pytest.approx(the_long_way(p_0, x_t, t, s), abs=1e-6)


def test_two_jumps_are_one():
    for p_0, x_t, (t, r, s) in itertools.product((0.0, 0.2, 0.7), (0, 1), [(12, 6, 3), (12, 11, 0), (9, 5, 4), (5, 2, 1)]):
        over = jump(p_0, x_t, t, r)
        both = over * jump(p_0, 1, r, s) + (1 - over) * jump(p_0, 0, r, s)
        assert both == pytest.approx(jump(p_0, x_t, t, s), abs=1e-6)


@pytest.mark.parametrize("p_0", [0.0, 0.25, 0.5, 1.0])
def test_jump_at_its_limits(p_0):
    for s in range(T):  # from pure noise nothing is read: the forward process of p_0
        k = 1 - s / T
        assert jump(p_0, 0, T, s) == jump(p_0, 1, T, s) == pytest.approx(k * p_0 + (1 - k) / 2, abs=1e-6)
    assert jump(p_0, 0, T, 0) == jump(p_0, 1, T, 0) == pytest.approx(p_0, abs=1e-7)
    for t in range(1, T + 1):  # k_s = 1: what p_0 excludes stays excluded, and a fair p_0 believes x_t as far as it is kept
        k = 1 - t / T
        if p_0 in (0.0, 1.0):
            assert jump(p_0, 0, t, 0) == jump(p_0, 1, t, 0) == p_0
        if p_0 == 0.5:
            assert jump(p_0, 1, t, 0) == pytest.approx((1 + k) / 2, abs=1e-6)


def test_jump_is_a_finite_probability_and_symmetric():
    p_0 = torch.tensor([0.0, 1e-30, 1e-7, 0.5, 1 - 1e-7, 1.0])
    for t, s in JUMPS:
        one, zero = (jump_probability(p_0, torch.full((6,), x, dtype=torch.uint8), 1 - t / T, 1 - s / T) for x in (1, 0))
        assert one.dtype == torch.float32 and one.isfinite().all() and zero.isfinite().all()
        assert (one >= zero).all() and zero.min() >= 0 and one.max() <= 1
        flipped = jump_probability(1 - p_0, torch.zeros(6, dtype=torch.uint8), 1 - t / T, 1 - s / T)
        torch.testing.assert_close(one, 1 - flipped, rtol=0, atol=1e-6)


# ---- targets


def test_the_two_targets_say_the_same_of_logits_turned_round():
    """A flip of x_t = 1 is x_0 = 0, so flip logits are x_0 logits with the sign of x_t turned round."""
    flips, x_0 = head(target="flips"), head(target="x_0")
    logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) * 3
    x_t = torch.randint(0, 2, (40, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    torch.testing.assert_close(flips.p_0(-(x_t * 2.0 - 1) * logits, x_t), x_0.p_0(logits, x_t), rtol=0, atol=1e-6)
    torch.testing.assert_close(x_0.p_0(logits, x_t), logits.sigmoid())


@pytest.mark.parametrize("target", ["flips", "x_0"])
def test_p_0_is_a_float32_probability_however_sure_the_logits(target):
    logits = torch.tensor([[1e30, -1e30, 0.0]] * 2, dtype=torch.bfloat16)
    p = head(target=target).p_0(logits, torch.tensor([[0, 0, 0], [1, 1, 1]], dtype=torch.uint8))
    assert p.dtype == torch.float32 and p[0].tolist() == [1, 0, 0.5]
    assert p[1].tolist() == ([0, 1, 0.5] if target == "flips" else [1, 0, 0.5])


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
@torch.no_grad()
def test_the_chains_of_both_targets_agree_when_logits_are_turned_round(scale):
    flips, x_0 = head(target="flips", steps=20), head(target="x_0", steps=20)
    flips.net.register_forward_hook(lambda net, given, logits: -given[0] * logits)
    conditions = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(3))
    ends = [part.chain(conditions, scale, 8, uniforms(30, 3)[0]) for part in (flips, x_0)]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)
    assert ends[0].std() > 0.1


@pytest.mark.parametrize("target, weights", [("flips", "published"), ("flips", "balanced"), ("x_0", "balanced")])
def test_the_loss_is_the_weighted_cross_entropy_of_the_target(target, weights):
    part, rng = head(target=target, weights=weights), torch.Generator().manual_seed(4)
    x_0, x_t = (torch.randint(0, 2, (20, 3), generator=rng, dtype=torch.uint8) for _ in range(2))
    t, condition = torch.randint(1, 257, (20,), generator=rng), torch.randn(20, 5, generator=rng)
    loss, logits = part.elementwise_loss(x_0, t, x_t, condition)
    wanted = x_0 if target == "x_0" else (x_0 != x_t).to(torch.uint8)
    assert torch.equal(logits, part.logits(x_t, t - 1, condition)) and torch.equal(loss, weighted_bce(logits, wanted))


@torch.no_grad()
def test_training_draws_every_timestep_and_the_noise_that_belongs_to_it():
    part, steps, seen = head(bits=2, steps=4), 4, {}
    part.net.register_forward_hook(lambda net, given, out: seen.update(x=(given[0] + 1) / 2))
    part.net.time1.register_forward_hook(lambda net, given, out: seen.update(t=given[0]))
    x_0 = torch.tensor([[1, 0]], dtype=torch.uint8).expand(40_000, 2)
    part.loss(x_0, torch.zeros(len(x_0), 5), torch.Generator().manual_seed(5))
    t = seen["t"][:, 0].acos().round() + 1  # the first entry of the sinusoid is cos(t - 1)
    assert t.unique().tolist() == [1, 2, 3, 4]
    for i in range(1, steps + 1):
        rows, k = t == i, 1 - i / steps
        assert rows.float().mean() == pytest.approx(1 / steps, abs=0.01)
        assert seen["x"][rows].mean(0).tolist() == pytest.approx([(1 + k) / 2, (1 - k) / 2], abs=0.02)


# ---- the chain


def constant(p_0, target, steps):
    """A head that knows P(x_0 = 1) = p_0 whatever it is shown, and the list of what it was shown."""
    part = head(bits=len(p_0), target=target, steps=steps)
    shown = []
    with torch.no_grad():
        part.net.out.weight.zero_()
        part.net.out.bias.copy_(torch.tensor(p_0).logit())
    part.net.register_forward_hook(lambda net, given, logits: -given[0] * logits if target == "flips" else logits)
    part.net.register_forward_pre_hook(lambda net, given: shown.append((given[0][0] + 1) / 2))
    return part, shown


@pytest.mark.parametrize("target", ["flips", "x_0"])
@pytest.mark.parametrize("steps, evaluations", [(256, 1), (256, 2), (256, 5), (256, 40), (16, 16), (16, 99)])
@torch.no_grad()
def test_the_chain_of_a_known_posterior_walks_back_the_forward_process(target, steps, evaluations):
    """x_t has the law k_t p_0 + (1 - k_t)/2 at every evaluation, and neighbours belong together as they do forwards."""
    p_0, m = torch.tensor([0.02, 0.3, 0.5, 0.9]), 20_000
    part, shown = constant(p_0.tolist(), target, steps)
    uniform, calls = uniforms(m, 4, seed=7)
    end = part.chain(torch.zeros(1, m, 5), 1.0, evaluations, uniform)
    torch.testing.assert_close(end, p_0.expand(m, 4), rtol=0, atol=1e-5)
    timesteps = chain_timesteps(evaluations, steps)
    assert len(calls) == len(shown) == len(timesteps)
    keep = [1 - t / steps for t in timesteps]
    close = 4.5 * 0.5 / math.sqrt(m)
    for k, x in zip(keep, shown, strict=True):
        assert (x.mean(0) - (k * p_0 + (1 - k) / 2)).abs().max() < close
    for (k_t, x_t), (k_s, x_s) in itertools.pairwise(zip(keep, shown, strict=True)):
        both = (k_s * p_0 + (1 - k_s) / 2) * (1 + k_t / k_s) / 2  # P(x_s = 1) q(x_t = 1 | x_s = 1)
        assert ((x_t * x_s).mean(0) - both).abs().max() < close


@torch.no_grad()
def test_the_bits_of_a_chain_are_drawn_apart_and_places_do_not_mix():
    part, shown = constant([0.5, 0.5], "x_0", 256)
    part.chain(torch.zeros(1, 20_000, 5), 1.0, 4, uniforms(20_000, 2, seed=8)[0])
    for x in shown:
        centred = x - 0.5
        assert (centred[:, 0] * centred[:, 1]).mean().abs() < 0.01 and (centred[1:] * centred[:-1]).mean().abs() < 0.01


@torch.no_grad()
def test_guidance_combines_the_branches_at_every_evaluation():
    part = head(steps=20)
    conditions = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(9))

    def ask(branches, scale):
        return part.chain(branches, scale, 6, uniforms(30, 3)[0])

    torch.testing.assert_close(ask(conditions, 1.0), ask(conditions[:1], 1.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(ask(conditions, 0.0), ask(conditions[1:], 1.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(ask(conditions, 3.0), ask(conditions.flip(0), -2.0), rtol=0, atol=1e-5)  # 1 - 3
    assert not torch.allclose(ask(conditions, 3.0), ask(conditions, 1.0), atol=1e-2)


@torch.no_grad()
def test_one_evaluation_is_the_marginal_read_off_the_noise():
    part = head(steps=50)
    conditions, noise = torch.randn(1, 30, 5, generator=torch.Generator().manual_seed(9)), uniforms(30, 3)[0]()
    x = (noise < 0.5).to(torch.uint8)
    wanted = part.p_0(part.logits(x, torch.full((30,), 49), conditions[0]), x)
    torch.testing.assert_close(part.chain(conditions, 1.0, 1, lambda: noise), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("evaluations", [1, 4])
@torch.no_grad()
def test_the_samplers_last_draw_is_a_new_one(evaluations):
    """A bit is p, whatever the chain's own draws were: x_1 is flipped as often as the head says."""
    prior = MaskedPriorSpec().build().eval()
    codes = Codes(torch.zeros(300, 4, 4, 8, dtype=torch.uint8), prior.radix)
    prior.head.net.out.weight.zero_()
    prior.head.net.out.bias.fill_(math.log(0.2 / 0.8))  # P(flip) = 1/5
    shown = []
    prior.head.net.register_forward_pre_hook(lambda net, given: shown.append((given[0][0] + 1) / 2))
    sampler = EntropyOrderedSpec(steps=1, evaluations=evaluations, guidance_scale=1.0).build()
    generators = [torch.Generator().manual_seed(i) for i in range(300)]
    *_, step = sampler(prior, codes, torch.zeros(300, 4, 4, dtype=torch.bool), None, generators)
    assert len(shown) == evaluations
    x_1, drawn = shown[-1].flatten(), step.codes.digits.flatten().float()
    assert [drawn[x_1 == x].mean().item() for x in (0, 1)] == pytest.approx([0.2, 0.8], abs=0.015)


@torch.no_grad()
def test_a_chain_in_low_precision_ends_in_float32_probabilities():
    part = head().to(torch.bfloat16)
    p = part.chain(torch.zeros(2, 6, 5, dtype=torch.bfloat16), 2.5, 3, uniforms(6, 3)[0])
    assert p.dtype == torch.float32 and p.isfinite().all() and 0 <= p.min() and p.max() <= 1


def test_input_positions_tell_hidden_places_apart():
    """As published, positions come after the blocks: with everything hidden only the prefix, by rotary angles, parts the places."""
    codes, spread = Codes(torch.zeros(1, 4, 4, 8, dtype=torch.uint8), (2,) * 8), {}
    for asked in (False, True):
        torch.manual_seed(0)
        prior = MaskedPriorSpec(input_positions=asked).build().eval()
        with torch.no_grad():
            *_, last = prior.streams(codes.flat(), torch.zeros(1, 16, dtype=torch.bool), prior.embed(None, 1).vector)
        spread[asked] = float(last[0, 1:].std(0).mean() / last[0, 1:].abs().mean())
    assert spread[False] < 0.01 < 0.5 < spread[True]
    prior.train().loss(codes, None, torch.Generator().manual_seed(0)).backward()
    assert (prior.input_positions.grad != 0).any(1).all()
