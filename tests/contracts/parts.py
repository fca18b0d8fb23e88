"""What contracts share: the inhabitants of a room, found by their Specs, and parts of these whose weights make them say something."""

import dataclasses
import inspect

import torch
from test_spec import specs
from torch import nn

from bitmosaic.codes import Codes
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.base import HeadedPrior
from bitmosaic.priors.head import HeadSpec


def inhabitants(room, base):
    """Specs of a room that build a `base` by themselves, unlike those of parts made for another."""
    here = [kind for kind in specs() if kind.__module__.startswith(f"bitmosaic.{room}.")]
    alone = [kind for kind in here if len(inspect.signature(kind.build).parameters) == 1]
    found = [kind for kind in alone if isinstance(kind().build(), base)]
    assert found, f"nobody lives in {room}"
    return found


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


# ---- priors, and codes that fit them

CONDITIONS = {"classes": ClassConditionSpec(), "unconditional": NoConditionSpec()}
HEADS = [kind for kind in specs() if issubclass(kind, HeadSpec)]
PRIORS = [
    with_head(kind, head) for kind in inhabitants("priors", nn.Module)
    for head in (HEADS if "head" in (f.name for f in dataclasses.fields(kind)) else [None])
]  # fmt: skip
HEADED = [kind for kind in PRIORS if isinstance(kind().build(), HeadedPrior)]  # masked and causal ones
DENOISING = [kind for kind in PRIORS if kind().build().family == "denoising"]


def prior_and_codes(kind, condition, batch=4, seed=0, **settings):
    """A prior, codes that fit it, and labels or None."""
    prior = shaken(with_settings(kind(), condition=condition, **settings).build(), seed)
    labels = torch.arange(batch) % prior.condition.classes if prior.condition.classes else None
    return prior, random_codes(prior.grid, prior.radix, batch), labels


def half_known(codes, seed=0):
    known = torch.rand(codes.digits.shape[:-1], generator=torch.Generator().manual_seed(seed)) < 0.5
    known.flatten(1)[:, 0], known.flatten(1)[:, 1] = True, False  # some of both in every image
    return known


def walk(kind, prior, codes, known, labels, seeds=None, **settings):
    """All steps of a sampler with few steps and evaluations unless told."""
    sampler = with_settings(kind(), **{"steps": 5, "evaluations": 3, **settings}).build()
    seeds = range(len(codes)) if seeds is None else seeds
    return list(sampler(prior, codes, known, labels, [torch.Generator().manual_seed(s) for s in seeds]))
