"""Code length: the bits that a prior needs for the codes of some places given the others; likelier codes need fewer.

Hidden places are revealed in a random order, in rounds; the places of a round are coded independently given all known by then, and the
bits of a place one by one (`Head.bit_by_bit`). All factors are normalised, so this is the exact code length in that order, and its mean
over orders an upper bound of -log2 p (any-order autoregression, Uria et al., arXiv 1310.1757). For a denoising prior it is the variational
bound of a chain with as many jumps (D3PM, Austin et al., 2107.03006), an upper bound in its mean over noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.nets.schedules import hidden_after
from bitmosaic.priors.base import ConditionLike, HeadedPrior, Prior
from bitmosaic.priors.denoising import DenoisingPrior, bound_of_places


@torch.no_grad()
def code_length(prior: Prior, codes: Codes, known: Tensor, condition: ConditionLike, rng: torch.Generator, rounds: int = 8) -> Tensor:
    """Bits (b,) that the places where `known` (b, *grid) is False cost, without guidance.

    condition as for `prior.embed`. Order and noise come from `rng` and are the same for all images of a batch, so lengths within a batch,
    or of batches with equal generators, can be compared. Each image is computed by itself, all its rounds at once, so its length does not
    depend on its batch. A causal prior's length includes known places after the first hidden one, since it has one order only. For a
    denoising prior rounds are jumps of the chain. More rounds are slower and give shorter codes. ValueError where codes or known do not fit
    the prior, or for less than one round.
    """
    prior.check(codes, known)
    if rounds < 1:
        raise ValueError(f"rounds: got {rounds}; want at least 1")
    digits, known = codes.flat(), known.flatten(1)
    if prior.family == "denoising":
        return _of_chain(prior, digits, known, condition, rng, rounds)
    order = None if prior.family == "causal" else torch.rand(known.shape[1], generator=rng, device=rng.device).to(known.device)
    noise = torch.rand(2, *digits.shape[1:], generator=rng, device=rng.device).to(known.device)  # (2, N, K)
    lengths = torch.zeros(len(digits), device=digits.device)
    for i in range(len(digits)):
        one, hidden = prior.embed(None if condition is None else condition[i : i + 1], 1), ~known[i]
        if order is None:
            hidden = hidden.cummax(0).values  # places after a hidden one depend on it
        if not bool(hidden.any()):
            continue
        told = _in_raster_order if order is None else _in_rounds
        contexts = told(prior, digits[i], hidden, one, order, rounds)
        draws = iter(noise[:, hidden])
        found = prior.head.log_likelihood(digits[i, hidden], contexts[None], lambda draws=draws: next(draws))
        lengths[i] = -found.sum() / math.log(2)
    return lengths


def _of_chain(prior: DenoisingPrior, digits: Tensor, known: Tensor, condition: ConditionLike, rng: torch.Generator, rounds: int) -> Tensor:
    """`code_length` of a denoising prior: digits (b, N, 1), known (b, N)."""
    noise = torch.rand(2, rounds, known.shape[1], generator=rng, device=rng.device).to(known.device)
    each = (None if condition is None else condition[i : i + 1] for i in range(len(digits)))
    return torch.stack([
        bound_of_places(prior, own, there, prior.embed(one, 1), noise)
        for own, there, one in zip(digits, known, each, strict=True)
    ])  # fmt: skip


def _in_rounds(prior: HeadedPrior, digits: Tensor, hidden: Tensor, one: Encoded, order: Tensor, rounds: int) -> Tensor:
    """Context vectors (h, D) of the hidden places, each in its round; digits (N, K), hidden (N,), one condition, order (N,)."""
    rank, count = order.masked_fill(~hidden, math.inf).argsort().argsort(), int(hidden.sum())  # hidden places 0, 1, ...
    starts = sorted({count - hidden_after(i, rounds, count) for i in range(rounds)} - {count})
    begin = torch.tensor(starts, device=digits.device)  # ranks at which non-empty rounds begin
    known = ~hidden | (rank < begin[:, None])
    contexts = prior.context(digits.expand(len(begin), -1, -1), known, one.expand(len(begin)))
    return contexts[torch.searchsorted(begin, rank[hidden], right=True) - 1, hidden.nonzero()[:, 0]]


def _in_raster_order(prior: HeadedPrior, digits: Tensor, hidden: Tensor, one: Encoded, order: None, rounds: int) -> Tensor:
    """`_in_rounds` of a causal prior: each place given all before it, in one pass.

    Known places after a hidden one count too: their joint probability is proportional to p(hidden | known), which ranks answers.
    """
    return prior.context(digits[None], torch.ones_like(hidden)[None], one)[0, hidden]


@torch.no_grad()
def marginal_entropy(prior: HeadedPrior, codes: Codes, known: Tensor, condition: ConditionLike, rng: torch.Generator) -> Tensor:
    """The prior's entropy at each hidden place given the known ones, (b, *grid): mean over bits of each bit's entropy in bits; 0 where
    known.

    Of marginals without guidance (`Head.marginals`), with noise from `rng`; condition as for `prior.embed`. ValueError where codes or known
    do not fit the prior, or where it is not a masked one.
    """
    prior.check(codes, known)
    if prior.family != "masked":
        raise ValueError(f"prior: a {prior.family} prior has no marginals of hidden places given any known ones; take a masked one")
    hidden, found = ~known.flatten(1), torch.zeros(known.flatten(1).shape, device=known.device)
    contexts = prior.context(codes.flat(), known.flatten(1), prior.embed(condition, len(codes)))[hidden]
    noise = torch.rand(*hidden.shape, len(codes.radix), generator=rng, device=rng.device).to(known.device)[hidden]
    p = prior.head.marginals(contexts[None], 1.0, noise)
    return found.masked_scatter(hidden, prior.head.entropy(p).mean(-1)).view(known.shape)
