"""How many bits a prior needs for the codes of some places, given the others: a code length, so fewer bits mean likelier codes.

Hidden places are revealed in a random order, in rounds; the places of a round are coded apart, under what is known by then, and the
bits of a place one by one (`BernoulliDiffusion.bit_by_bit`). All factors are normalised, so this is the exact code length under
that order, and its mean over orders an upper bound of the prior's own -log2 p (any-order autoregression, Uria et al., arXiv 1310.1757).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bitmosaic.codes import Codes

if TYPE_CHECKING:
    from bitmosaic.priors.base import Prior


@torch.no_grad()
def code_length(prior: Prior, codes: Codes, known: Tensor, labels: Tensor | None, rng: torch.Generator, rounds: int = 8) -> Tensor:
    """Bits (b,) that the places where `known` (b, *grid) is False cost, without guidance.

    labels as for `prior.embed`. The order and noise come from `rng` and are the same for all images of a batch, so lengths of
    images of one batch, or of batches with equal generators, can be compared. An autoregressive prior's include known places after the
    first hidden one, since its own order is the only one it has. More rounds are slower and give shorter codes.
    ValueError where codes or known do not fit the prior, or for less than one round.
    """
    prior.check(codes, known)
    if rounds < 1:
        raise ValueError(f"rounds: got {rounds}; want at least 1")
    digits, known = codes.flat(), known.flatten(1)
    if prior.raster:
        return _in_raster_order(prior, digits, ~known, labels, rng)
    hidden = (~known).sum(1, keepdim=True)  # (b, 1)
    order = torch.rand(known.shape[1], generator=rng, device=rng.device).to(known.device)
    rank = order.expand(known.shape).masked_fill(known, math.inf).argsort(1).argsort(1)  # hidden places 0, 1, ...
    noise = torch.rand(2, *digits.shape[1:], generator=rng, device=rng.device).to(known.device)
    noise = noise[:, None].expand(-1, len(digits), -1, -1)  # (2, b, N, K)
    vectors, length = prior.embed(labels, len(digits)), torch.zeros(len(digits), device=digits.device)
    done = torch.zeros_like(hidden)
    for i in range(1, rounds + 1):
        now = hidden - (math.cos(math.pi / 2 * i / rounds) * hidden).floor().long() if i < rounds else hidden
        asked = ~known & (rank >= done) & (rank < now)
        if bool(asked.any()):
            contexts = prior.context(digits, known | (rank < done), vectors)[asked]
            draws = iter(noise[:, asked])
            found = prior.head.log_likelihood(digits[asked], contexts[None], lambda draws=draws: next(draws))
            length -= torch.zeros(known.shape, device=length.device).masked_scatter(asked, found).sum(1) / math.log(2)
        done = now
    return length


def _in_raster_order(prior: Prior, digits: Tensor, hidden: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    """`code_length` of an autoregressive prior: of all places from the first hidden one on, each given all before it, in one pass.

    Exact. Known places after a hidden one count too, which is what ranks answers rightly: p(hidden | known) is proportional to it.
    """
    everything, hidden = torch.ones_like(hidden), hidden.cummax(1).values
    contexts = prior.context(digits, everything, prior.embed(labels, len(digits)))[hidden]
    noise = torch.rand(2, *digits.shape[1:], generator=rng, device=rng.device).to(digits.device)
    draws = iter(noise[:, None].expand(-1, len(digits), -1, -1)[:, hidden])
    found = prior.head.log_likelihood(digits[hidden], contexts[None], lambda: next(draws))
    return torch.zeros(hidden.shape, device=digits.device).masked_scatter(hidden, -found).sum(1) / math.log(2)


@torch.no_grad()
def marginal_entropy(prior: Prior, codes: Codes, known: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    """How unsure the prior is of each hidden place given the known ones, (b, *grid): mean bits of entropy a bit; 0 where known.

    Of each bit by itself, without guidance, from one evaluation of pure noise (`BernoulliDiffusion.marginals`), drawn from `rng`. labels as
    for `prior.embed`. ValueError where codes or known do not fit the prior, or where it takes places in raster order only.
    """
    prior.check(codes, known)
    if prior.raster:
        raise ValueError("prior: an autoregressive prior says nothing of places whose neighbours before them are hidden; take a masked one")
    hidden, found = ~known.flatten(1), torch.zeros(known.flatten(1).shape, device=known.device)
    contexts = prior.context(codes.flat(), known.flatten(1), prior.embed(labels, len(codes)))[hidden]
    noise = torch.rand(*hidden.shape, len(codes.radix), generator=rng, device=rng.device).to(known.device)[hidden]
    p = prior.head.marginals(contexts[None], 1.0, noise)
    entropy = -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)).mean(-1) / math.log(2)
    return found.masked_scatter(hidden, entropy).view(known.shape)
