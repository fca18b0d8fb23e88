"""The contract of denoising priors: a law of clean codes at any time of the chain, held against every one that there is."""

import copy
import math

import pytest
import torch
from parts import CONDITIONS, DENOISING, named, prior_and_codes
from torch import nn

denoising = pytest.mark.parametrize("kind", **named(DENOISING))
conditions = pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)


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
