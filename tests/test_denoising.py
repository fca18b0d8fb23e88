"""Chains against products of whole matrices and against the tensors of two published programs; a denoising prior's bound and its law."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from reference import reference
from safetensors.torch import load_file

from bitmosaic.codes import Codes
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.evaluate.insight import order_of, reveal
from bitmosaic.pipelines import CodesPipeline
from bitmosaic.priors import AbsorbingSpec, D3PMSpec, MaskAndReplaceSpec, UniformSpec
from bitmosaic.priors.chain import FLOOR, Chain
from bitmosaic.priors.denoising import DenoisingPrior, step_bound
from bitmosaic.priors.likelihood import code_length
from bitmosaic.samplers import AncestralSpec
from bitmosaic.samplers.llamagen import kept
from bitmosaic.tokenizers.vqgan import VQGANSpec

K, T = 5, 6
KINDS = {
    "absorbing": AbsorbingSpec(T), "uniform": UniformSpec(T), "mask-and-replace": MaskAndReplaceSpec(T),
    "published": MaskAndReplaceSpec(T, 0.99999),
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def matrices(spec, codewords=K):
    """Q_t of each step from its own alpha, beta and gamma, (T, K + 1, K + 1) float64: row x_{t-1}, column x_t."""
    kept_, masked = map(torch.from_numpy, spec.shares())
    alpha, gamma = kept_[1:] / kept_[:-1], 1 - (1 - masked[1:]) / (1 - masked[:-1]).clamp(min=1e-300)
    beta = (1 - alpha - gamma) / codewords
    found = torch.zeros(len(alpha), codewords + 1, codewords + 1, dtype=torch.float64)
    for step, a, b, c in zip(found, alpha, beta, gamma, strict=True):
        step[:codewords, :codewords] = a * torch.eye(codewords, dtype=torch.float64) + b
        step[:codewords, codewords], step[codewords, codewords] = c, 1
    return found


def products(steps, s, t):
    """Q_{s+1} ... Q_t."""
    return torch.linalg.multi_dot([*steps[s:t], torch.eye(K + 1, dtype=torch.float64)]) if t - s > 1 else steps[s]


@kinds
def test_a_jump_is_the_product_of_its_steps(kind):
    chain, steps = kind.build(K), matrices(kind)
    assert torch.allclose(steps.sum(-1), torch.ones(T, K + 1, dtype=torch.float64))
    for s, t in itertools.combinations(range(T + 1), 2):
        found = chain.forward(chain.certain(torch.arange(K)[None]), chain.jump(s, t))[0].exp()
        torch.testing.assert_close(found, products(steps, s, t)[:K].float(), rtol=0, atol=1e-6)
        seen = chain.likelihood(torch.arange(K + 1)[None], chain.jump(s, t))[0].exp()
        torch.testing.assert_close(seen, products(steps, s, t)[:K].T.float(), rtol=0, atol=1e-6)


@kinds
def test_a_posterior_is_that_of_bayes_for_codes_and_for_laws_of_codes(kind):
    """For all s < t, of every x_t that can be reached; x_0 is known, or has a law of which the posterior is the mean."""
    chain, steps = kind.build(K), matrices(kind)
    law = torch.randn(1, K + 1, K, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    x_t = torch.arange(K + 1)[None]
    for s, t in itertools.combinations(range(T + 1), 2):
        begun = products(steps, 0, s) if s else torch.eye(K + 1, dtype=torch.float64)
        joint = begun[:K, :, None] * products(steps, s, t)[None]  # x_0, x_s, x_t
        if not chain.masks:
            x_t = torch.arange(K)[None]
        for x_0 in range(K):
            reached = joint[x_0].sum(0)[x_t[0]] > 1e-4
            wanted = (joint[x_0] / joint[x_0].sum(0).clamp(min=1e-30)).T[x_t[0]]
            found = chain.posterior(chain.certain(torch.full_like(x_t, x_0)), x_t, s, t).exp()[0]
            torch.testing.assert_close(found[reached], wanted[reached].float(), rtol=0, atol=2e-6)
        if chain.replaces:  # else most x_0 cannot have led to a code that is there
            given = joint / joint.sum(1, keepdim=True)  # p(x_s | x_0, x_t)
            wanted = torch.einsum("xk,ksx->xs", law[0, : x_t.shape[1]].exp().double(), given[:, :, x_t[0]])
            found = chain.posterior(law[:, : x_t.shape[1]], x_t, s, t)[0].exp()
            torch.testing.assert_close(found, wanted.float(), rtol=0, atol=5e-6)
            torch.testing.assert_close(found.sum(-1), torch.ones(x_t.shape[1]), rtol=0, atol=5e-6)


@kinds
def test_times_may_be_of_each_image(kind):
    chain = kind.build(K)
    law, x_t = torch.randn(4, 7, K, generator=torch.Generator().manual_seed(0)).log_softmax(-1), torch.randint(K + chain.masks, (4, 7))
    s, t = torch.tensor([0, 1, 2, 4]), torch.tensor([1, 3, 6, 5])
    whole = chain.posterior(law, x_t, s, t)
    for i in range(4):
        torch.testing.assert_close(chain.posterior(law[i : i + 1], x_t[i : i + 1], int(s[i]), int(t[i])), whole[i : i + 1])


@kinds
def test_noise_has_the_law_of_the_chain(kind):
    chain, x_0 = kind.build(K), torch.full((1, 40000), 2)
    for t in (1, 3, T):
        uniform = torch.rand(2, *x_0.shape, generator=torch.Generator().manual_seed(t))
        found = torch.bincount(chain.noised(x_0, t, uniform)[0], minlength=K + 1)
        wanted = chain.forward(chain.certain(x_0[:, :1]), chain.jump(0, t))[0, 0].exp()
        torch.testing.assert_close(found / 40000, wanted, rtol=0, atol=0.01)
    end = torch.bincount(chain.end(uniform)[0], minlength=K + 1) / 40000
    torch.testing.assert_close(end[:K], end[:K].mean().expand(K), rtol=0, atol=0.01)
    assert (chain.end_bound(x_0) < 0.05).all()


@kinds
def test_what_is_no_chain_is_refused(kind):
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="steps: got"):
            type(kind)(wrong)
    for masked in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="masked: got"):
            MaskAndReplaceSpec(T, masked)
    with pytest.raises(ValueError, match="chain: shares"):
        Chain(np.array([1.0, 0.9]), np.array([0.0, 0.2]), K)


# ---- the published programs


def tensors(folder, name):
    return load_file(reference(folder) / f"{name}.safetensors")


def settings():
    return json.loads((reference("vq_diffusion") / "args.json").read_text())


def presets(steps=10):
    """The published default of VQ-Diffusion, and the same with as much replaced as its paper says."""
    return {"official": MaskAndReplaceSpec(steps, 0.99999), "replace": MaskAndReplaceSpec(steps, 0.9)}


def near(found, wanted, atol=1e-5, least=-25.0):
    """Log-probabilities, classes the second axis there and the last here; below `least` each program has its own nothing."""
    wanted = wanted.movedim(1, -1).flatten(1, -2)
    torch.testing.assert_close(found.clamp(least, 0), wanted.clamp(least, 0), rtol=0, atol=atol)


def test_shares_are_those_of_vq_diffusion():
    given = tensors("vq_diffusion", "schedule")
    for steps in (10, 25, 100):
        for name, spec in presets(steps).items():
            kept_, masked = map(torch.from_numpy, spec.shares())
            own = {"cum_at": kept_, "cum_ct": masked, "cum_bt": (1 - kept_ - masked) / 8}
            for kind, values in own.items():
                wanted = given[f"{name}.{steps}.{kind}"]
                torch.testing.assert_close(values[1:].float(), wanted[:-1], rtol=2e-6, atol=1e-12)
                torch.testing.assert_close(values[:1].float(), wanted[-1:], rtol=0, atol=0)
            chain = spec.build(8)
            for t in range(1, steps + 1):
                jump = chain.jump(t - 1, t)
                for part, kind in ((jump.keep, "at"), (jump.replace, "bt"), (jump.mask, "ct")):
                    torch.testing.assert_close(part.exp(), given[f"{name}.{steps}.{kind}"][t - 1], rtol=1e-5, atol=1e-12)


def test_laws_and_posteriors_are_those_of_vq_diffusion():
    given = tensors("vq_diffusion", "chain")
    x_0, x_t, t = given["x0"], given["xt"], given["t"] + 1
    for name, spec in presets().items():
        chain = spec.build(8)
        near(chain.forward(chain.certain(x_0), chain.jump(t - 1, t)), given[f"{name}.q_one_step"])
        near(chain.forward(chain.certain(x_0), chain.jump(0 * t, t)), given[f"{name}.q_marginal"])
        before = chain.forward(chain.certain(x_0), chain.jump(0 * t, t - 1))
        near(before, given[f"{name}.q_marginal_previous"])
        soft = chain.posterior(given["log_x0"].movedim(1, -1), x_t, t - 1, t)
        near(soft, given[f"{name}.posterior_soft"], 2e-5)
        near(soft, given[f"{name}.posterior_soft_diffusers"], 2e-5)
        near(chain.posterior(chain.certain(x_0), x_t, t - 1, t), given[f"{name}.posterior_true"], 5e-5)


@pytest.mark.parametrize("name", ["uniform_t_official", "importance_t_replace", "no_aux_replace"])
def test_the_loss_is_that_of_vq_diffusion(name):
    given, how = tensors("vq_diffusion", "training"), settings()["training_variants"][name]
    chain, logits = presets()[how["preset"]].build(8), given[f"{name}.logits"].movedim(1, -1).clone().requires_grad_()
    x_0, x_t, t = given["x0"], given[f"{name}.xt"], given[f"{name}.t"] + 1
    log_p = logits.double().log_softmax(-1).float()
    bound, cross_entropy = step_bound(chain, log_p, x_0, x_t, t - 1, t)
    weight = how["aux"] * (2 - (t - 1) / chain.steps)
    loss = ((bound.sum(1) + weight * cross_entropy.sum(1)) / given[f"{name}.pt"]).mean() / 16
    torch.testing.assert_close(loss, given[f"{name}.loss"], rtol=2e-5, atol=0)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], given[f"{name}.grad_logits"].movedim(1, -1), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["ancestral_official", "ancestral_replace", "guided_truncated"])
def test_a_chain_is_walked_back_as_by_vq_diffusion(name):
    """Each step of recorded chains: guidance and truncation, the law of the step, and what is drawn of it."""
    given, how = tensors("vq_diffusion", "sampling"), settings()["chains"][name]
    chain = presets()[how["preset"]].build(8)
    for i, t in enumerate(given[f"{name}.t"].tolist()):
        log_p = given[f"{name}.logits"][i].movedim(1, -1).log_softmax(-1)
        if name == "guided_truncated":
            null = given[f"{name}.logits_null"][i].movedim(1, -1).log_softmax(-1)
            log_p = (null + how["guidance"] * (log_p - null)).log_softmax(-1)
            log_p = log_p.masked_fill(~kept(log_p.flatten(0, 1), 0, 0.86).view(log_p.shape), FLOOR)
        near(log_p, given[f"{name}.log_x0"][i][:, :-1], 2e-5)
        found = chain.posterior(log_p, given[f"{name}.tokens_before"][i], t, t + 1).clamp(FLOOR, 0)
        near(found, given[f"{name}.log_prob"][i], 1e-4)
        noise = -(-(given[f"{name}.uniform"][i] + 1e-30).log() + 1e-30).log()
        after = given[f"{name}.tokens_before"][i + 1] if i + 1 < len(given[f"{name}.t"]) else given[f"{name}.tokens_final"]
        assert torch.equal((found + noise.movedim(1, -1)).argmax(-1), after)


def test_the_uniform_chain_is_that_of_vq_ddm():
    shares, given = tensors("vq_ddm", "schedule"), tensors("vq_ddm", "chain")
    for steps in (12, 50, 1000):
        kept_, masked = map(torch.from_numpy, UniformSpec(steps).shares())
        torch.testing.assert_close((kept_[1:] / kept_[:-1]).float(), shares[f"{steps}.alpha"], rtol=2e-6, atol=1e-7)
        torch.testing.assert_close(kept_[1:].log().float(), shares[f"{steps}.log_cumprod_alpha"], rtol=1e-5, atol=1e-6)
        assert not masked.any()
    chain, x_t, t = UniformSpec(50).build(9), given["xt"].flatten(1), given["t"] + 1
    x_0 = given["x0"].flatten(1)
    near(chain.forward(chain.certain(x_0), chain.jump(0 * t, t))[..., :-1], given["q_marginal"])
    near(chain.forward(chain.certain(x_t), chain.jump(t - 1, t))[..., :-1], given["q_one_step"])
    last = t > 1  # of the first step the published program takes the logarithm of 1e-30
    near(chain.posterior(chain.certain(x_0), x_t, t - 1, t)[last][..., :-1], given["posterior_true"][last], 2e-5)
    law = given["log_x0"].movedim(1, -1).flatten(1, 2)
    near(chain.posterior(law, x_t, t - 1, t)[..., :-1], given["posterior_marginalised"], 2e-5)
    torch.testing.assert_close(chain.end_bound(x_0).sum(1), given["kl_prior"], rtol=0, atol=1e-5)  # which is a difference in float32 there


# ---- a prior


class Oracle(DenoisingPrior):
    """Knows the law of each place, all alike, so that its p(x_0 | x_t) is that of Bayes."""

    def __init__(self, chain, law, grid):
        super().__init__()
        self.chain, self.law, self.grid, self.radix, self.auxiliary = chain, law, grid, (chain.codewords,), 0.0
        self.condition = NoConditionSpec().build(4)

    def logits(self, x_t, t, told):
        return self.law.log() + self.chain.likelihood(x_t, self.chain.jump(0 * t, t))

    def whole(self, digits, told):
        raise NotImplementedError


LAW = torch.tensor([0.5, 0.05, 0.25, 0.2])


@pytest.mark.parametrize("kind", [AbsorbingSpec(20), UniformSpec(20), MaskAndReplaceSpec(20)], ids=["absorbing", "uniform", "both"])
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_jumps_keep_the_law_whatever_their_number(kind, steps):
    """16,000 places that hang on nothing: their law is met in one step as in all, since jumps are exact."""
    prior = Oracle(kind.build(4), LAW, (40, 40))
    codes, known = Codes(torch.zeros(10, 40, 40, 1, dtype=torch.uint8), (4,)), torch.zeros(10, 40, 40, dtype=torch.bool)
    seen = list(AncestralSpec(steps, 1.0).build()(prior, codes, known, None, [torch.Generator().manual_seed(i) for i in range(10)]))
    assert len(seen) == steps
    found = torch.bincount(seen[-1].codes.digits.flatten(), minlength=4) / 16000
    torch.testing.assert_close(found, LAW, rtol=0, atol=0.015)
    again = list(AncestralSpec(steps + 20, 1.0).build()(prior, codes[:1], known[:1], None, [torch.Generator()]))
    assert len(again) == 20, "no more steps than the chain has"


@pytest.mark.parametrize("kind", [AbsorbingSpec(20), UniformSpec(20), MaskAndReplaceSpec(20)], ids=["absorbing", "uniform", "both"])
def test_code_length_is_that_of_the_law_where_the_network_is_perfect(kind):
    """2,000 places of each codeword, half of them known: the bound is no bound then, but -log2 of what they are worth."""
    prior, known = Oracle(kind.build(4), LAW, (40, 100)), torch.arange(4000).view(1, 40, 100) % 2 == 0
    for word in range(4):
        codes = Codes(torch.full((1, 40, 100, 1), word), (4,))
        for rounds in (2, 20):
            found = code_length(prior, codes, known, None, torch.Generator().manual_seed(0), rounds) / 2000
            assert float(found) == pytest.approx(-math.log2(LAW[word]), abs=0.12)


def test_code_length_bounds_the_law_of_the_chain_from_above():
    """Two places of three codewords under a network that knows nothing, all 9 codes, against the chain's law worked out exactly; then with
    one place known."""
    prior = D3PMSpec((1, 2), 3, 1, 1, 8, NoConditionSpec(), chain=MaskAndReplaceSpec(8)).build().eval()
    with torch.no_grad():
        prior.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    chain, rounds = prior.chain, 3
    joint = torch.tensor(list(itertools.product(range(4), repeat=2)))  # all x_t of two places
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    codes, masked = Codes(every.view(9, 1, 2, 1), (3,)), float(chain.jump(0, 8).mask.exp())
    end = torch.tensor([(1 - masked) / 3] * 3 + [masked])
    for given in (False, True):
        p = ((joint[:, 0] == 1) if given else end[joint[:, 0]]) * end[joint[:, 1]]
        times = chain.times(rounds)
        for t, s in zip(times, [*times[1:], 0], strict=True):
            with torch.no_grad():
                log_p = prior.denoise(joint, torch.full((16,), t), prior.embed(None, 16))
            each = chain.posterior(log_p, joint, s, t).exp()
            first = torch.nn.functional.one_hot(joint[:, 0], 4).float() if given else each[:, 0]
            p = p @ (first[:, joint[:, 0]] * each[:, 1][:, joint[:, 1]])
        law = torch.stack([p[(joint == one).all(1)].sum() for one in every])
        torch.testing.assert_close(law.sum(), torch.tensor(1.0), rtol=0, atol=1e-4)
        known = torch.zeros(9, 1, 2, dtype=torch.bool)
        known[..., 0] = given
        lengths = torch.stack([code_length(prior, codes, known, None, torch.Generator().manual_seed(i), rounds) for i in range(30)])
        mean, error = lengths.mean(0), lengths.std(0) / 30**0.5
        possible = every[:, 0] == 1 if given else law > 0
        assert (mean + 4 * error + law.log2())[possible].min() > 0


def test_a_code_length_is_its_images_and_not_its_batchs():
    prior = D3PMSpec().build().eval()
    codes = Codes(torch.randint(24, (4, 4, 4, 1), generator=torch.Generator().manual_seed(0)), (24,))
    known, labels = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5, torch.tensor([0, 1, 2, 0])
    whole = code_length(prior, codes, known, labels, torch.Generator().manual_seed(3))
    for i in range(4):
        alone = code_length(prior, codes[i], known[i : i + 1], labels[i : i + 1], torch.Generator().manual_seed(3))
        assert torch.equal(alone, whole[i : i + 1]) and alone.isfinite().all()
    assert not code_length(prior, codes, torch.ones_like(known), labels, torch.Generator()).any()


def test_several_digits_a_place_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"a D3PMSpec knows indices of one codebook, and these codes hold digits below \(8, 5\) a place"):
        D3PMSpec().on((4, 4), (8, 5), ClassConditionSpec())
    assert D3PMSpec().on((2, 2), (2,), NoConditionSpec()).build().radix == (2,)


def test_a_chain_that_never_replaces_keeps_what_is_there_and_one_that_does_mends_it():
    """Half-way codes are swapped for others: the absorbing chain cannot change them, mask-and-replace can (VQ-Diffusion, section 3.2)."""
    wrong, law = torch.full((1, 4000), 1), torch.tensor([0.998, 0.001, 0.001])
    for kind, mended in ((AbsorbingSpec(10), 0.0), (MaskAndReplaceSpec(10, 0.6), 0.3)):
        prior = Oracle(kind.build(3), law, (1, 4000))
        log_p = prior.denoise(wrong, torch.tensor([5]), None)
        p = prior.chain.posterior(log_p, wrong, 0, 5).exp()[0, 0]
        assert (p[0] > mended) if mended else p[1] == 1


def test_a_reveal_follows_codes_that_change_until_the_last_step():
    """Of a uniform chain all places hold a code from the first step on, and few of them their last."""
    tokenizer = VQGANSpec().build()
    grid = tuple(side // tokenizer.factor for side in tokenizer.image_size)
    prior = D3PMSpec(grid, *tokenizer.radix, chain=UniformSpec(6)).build()
    seen = list(reveal(CodesPipeline(tokenizer, prior), [0, 2], [1, 2]))
    order = order_of(seen)
    assert len(seen) == 7 and not seen[0].known.any() and all(moment.known.all() for moment in seen[1:])
    assert 1 < order.float().mean() and order.max() <= 6 and order.shape == seen[0].known.shape
    for i, moment in enumerate(seen):
        assert torch.equal((moment.digits == seen[-1].digits).all(-1) & moment.known | (order > i), torch.ones_like(moment.known))
        assert (moment.entropy > 0).all() == (i < 6)
