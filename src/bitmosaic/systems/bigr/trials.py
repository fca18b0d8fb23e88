"""The comparisons of BiGR (arXiv 2410.14672), at a size for two CPU cores and three hours: what is trained, and how each is sampled.

Fashion-MNIST; one tokenizer for each K; priors of equal depth, width and steps that differ in one thing at a time. We differ from the paper
in all sizes, in K = 12, since a categorical head must hold 2^K indices, in codes that enter every prior as bits, never as an index, in
weighting the loss of the x_0 target as that of flips, where the authors' program does not, and in a Frechet distance in the space of the
classifier that ships, which is no FID.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.autoregressive import AutoregressivePriorSpec
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.categorical import CategoricalSpec
from bitmosaic.priors.direct_bits import DirectBitsSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.priors.masked_bits import MaskedBitsSpec
from bitmosaic.samplers import EntropyOrderedSpec, RasterSpec, SamplerSpec
from bitmosaic.systems.bigr.fashion import fashion
from bitmosaic.train.run import Run
from bitmosaic.train.stages import TrainedFeatures

BITS = 12  # K of all but the comparison of K
STEPS = 1000  # of all priors but those of the comparison of steps
LAW = EntropyOrderedSpec(steps=10, evaluations=25, guidance_scale=1.5, temperature=0.17)  # published law, settings of docs/quality_speed.md
IN_ORDER = RasterSpec(evaluations=25, guidance_scale=1.5)
ANY = 1e30  # a Gumbel temperature at which noise alone decides the order: random order


@dataclass(frozen=True)
class Trial:
    """One prior, trained once and sampled in one or several ways."""

    name: str
    prior: PriorSpec
    samplers: dict[str, SamplerSpec] = field(default_factory=lambda: {"law": LAW})
    steps: int = STEPS


@dataclass(frozen=True)
class Row:
    """One line of a table: a trial, the sampler it is drawn with, and the paper's figures."""

    text: str
    trial: str
    sampler: str = "law"
    paper: dict[str, float] = field(default_factory=dict)  # FID, IS, time, probe


@dataclass(frozen=True)
class Table:
    """One comparison. `ranked`: the figure whose order is the paper's claim."""

    title: str
    rows: tuple[Row, ...]
    ranked: str = "frechet"
    note: str = ""


def tokenizer_run(bits: int, steps: int, feature_steps: int, data: str = "") -> Run:
    """Feature network and tokenizer of K bits a place, shared by all trials of that K; the prior is not used.

    The tokenizer of the recipe `fashion` as it was when the first of these figures were measured, shorter: by AdamW.
    """
    run = fashion(data)
    losses = replace(
        run.tokenizer_losses, perceptual_weight=0.1, adversarial_start=2 * steps // 3, adversarial_weight=0.5,
        discriminator_lead=min(100, steps // 6), discriminator_rate=0.4,
    )  # fmt: skip
    training = replace(
        run.tokenizer_training, steps=steps, learning_rate=1e-3, betas=(0.5, 0.95), optimizer=None, pictures_every=10_000
    )  # fmt: skip
    features = replace(run.features, training=replace(run.features.training, steps=feature_steps))
    assert isinstance(features, TrainedFeatures)
    return run.changed(
        name=f"bigr-tables-{bits}", features=features, tokenizer=replace(run.tokenizer, bits=bits, gain=1.0), tokenizer_losses=losses,
        tokenizer_training=training, code_draws=2, prior=replace(run.prior, bits=bits, condition=ClassConditionSpec(10)), shift=0.0,
    )  # fmt: skip


def prior_run(run: Run, trial: Trial, steps: int, seed: int) -> Run:
    """That run with a trial's prior."""
    average = max(0.5, min(0.999, 1 - 20 / steps))  # 0.999 over 2,000 steps would keep 13 % of the initial weights
    training = replace(
        run.prior_training, steps=steps, learning_rate=2e-3, warmup_steps=min(200, steps // 5), ema_decay=average, seed=seed,
        pictures_every=10_000,
    )
    return run.changed(prior=trial.prior, prior_training=training, sampler=trial.samplers.get("law", LAW))


def trials() -> list[Trial]:
    """All trials, those that most tables need first."""
    sizes = {"grid": (7, 7), "depth": 4, "heads": 4, "width": 128, "condition": ClassConditionSpec(10)}
    flips, x_0 = BernoulliDiffusionSpec(128, 3), BernoulliDiffusionSpec(128, 3, target="x_0", weights="balanced")

    def masked(head, bits: int = BITS, **changes) -> MaskedPriorSpec:
        return MaskedPriorSpec(**{**sizes, "bits": bits, "head": head, **changes})

    def causal(head, bits: int = BITS, **changes) -> AutoregressivePriorSpec:
        return AutoregressivePriorSpec(**{**sizes, "bits": bits, "head": head, **changes})

    found = [
        Trial("S3", masked(flips), {"law": LAW, **_ways()}),
        Trial("S1", masked(CategoricalSpec()), guided(LAW)),
        Trial("S2", causal(flips), guided(IN_ORDER)),
        Trial("S0", causal(CategoricalSpec()), guided(IN_ORDER)),
        Trial("direct", masked(DirectBitsSpec(128, 3))),
        Trial("x_0", masked(x_0)),
        Trial("masked-bits", masked(MaskedBitsSpec(128, 3))),
        Trial("no-labels", masked(flips, condition=NoConditionSpec()), {}),
    ]
    found += [Trial(f"K{bits}", masked(flips, bits)) for bits in (8, 16, 24)]
    kinds = {"S3": (masked, LAW), "S2": (causal, IN_ORDER)}
    for bits, steps, (kind, (build, law)), positions in product(POSITION_BITS, POSITION_STEPS, kinds.items(), (True, False)):
        if (name := of_positions(kind, bits, steps, positions)) not in ("S3", "S2"):
            found.append(Trial(name, build(flips, bits, input_positions=positions), guided(law), steps))
    many = (
        ("S0", causal, CategoricalSpec(), IN_ORDER), ("S1", masked, CategoricalSpec(), LAW),
        ("S2", causal, flips, IN_ORDER), ("S3", masked, flips, LAW),
    )  # fmt: skip
    return found + [Trial(f"{kind} of 2^{MANY}", build(head, MANY, input_positions=True), guided(law)) for kind, build, head, law in many]


def guided(law: SamplerSpec) -> dict[str, SamplerSpec]:
    """A sampler at the scales of guidance that are compared, by the names that S3's have."""
    return {way: replace(law, guidance_scale=scale) for way, scale in SWEEP.items()}


def of_positions(kind: str, bits: int, steps: int, positions: bool) -> str:
    """The name of a trial of the comparison of positions; the plain ones of K and steps as everywhere are trials of other tables too."""
    if (bits, steps, positions) == (BITS, STEPS, False):
        return kind
    return f"{kind} K{bits} {steps}{' positions' if positions else ''}"


def _ways() -> dict[str, SamplerSpec]:
    """The further samplers of S3, by name."""
    ways: dict[str, SamplerSpec] = {
        "raster": IN_ORDER, "random": replace(LAW, temperature=ANY), "rounded": replace(LAW, sample_last=False),
    }  # fmt: skip
    ways |= {f"n {n}": replace(LAW, steps=n) for n in CURVES["n"] if n != LAW.steps}
    ways |= {f"S {s}": replace(LAW, evaluations=s) for s in CURVES["S"] if s != LAW.evaluations}
    ways |= {f"guidance {g:g}": replace(LAW, guidance_scale=g) for g in CURVES["guidance"] if g != LAW.guidance_scale}
    return ways | {f"temperature {t:g}": replace(LAW, temperature=t) for t in CURVES["temperature"] if t != LAW.temperature}


CURVES: dict[str, tuple] = {
    "n": (3, 6, 10, 20), "S": (3, 10, 25, 50), "guidance": (1.0, 1.5, 2.5, 4.0), "temperature": (0.0, 0.17, 0.5, 2.0),
}  # fmt: skip
POSITION_BITS, POSITION_STEPS = (BITS, 20), (STEPS, 3000, 9000)
MANY = 16  # bits of a place for whose 2^16 values a categorical head has a logit each
SWEEP = {"law": LAW.guidance_scale} | {f"guidance {g:g}": g for g in CURVES["guidance"] if g != LAW.guidance_scale}
AT = {"n": LAW.steps, "S": LAW.evaluations, "guidance": LAW.guidance_scale, "temperature": LAW.temperature}

TABLES = (
    Table("Tokenizer and objective", (
        Row("S0: binary tokenizer, categorical, autoregressive", "S0", paper={"FID": 3.21, "IS": 239, "time": 1.09, "probe": 23.8}),
        Row("S1: binary tokenizer, categorical, masked", "S1", paper={"FID": 3.85, "IS": 262, "time": 0.10, "probe": 61.1}),
        Row("S2: binary tokenizer, binary, autoregressive", "S2", paper={"FID": 7.50, "IS": 164, "time": 1.04, "probe": 45.2}),
        Row("**S3: BiGR, binary, masked**", "S3", paper={"FID": 3.17, "IS": 262, "time": 0.69, "probe": 64.3}),
    )),
    Table("The same, by the probe", (
        Row("S0", "S0", paper={"probe": 23.8}), Row("S1", "S1", paper={"probe": 61.1}), Row("S2", "S2", paper={"probe": 45.2}),
        Row("**S3**", "S3", paper={"probe": 64.3}),
    ), "probe"),
    Table("Head", (
        Row("direct bits", "direct", paper={"FID": 5.84}), Row("diffusion towards x_0", "x_0", paper={"FID": 4.39}),
        Row("**diffusion towards flips**", "S3", paper={"FID": 3.17}), Row("masked bits (BAR)", "masked-bits"),
    ), note="Towards x_0 the rarer value of a place's bits counts more in the loss here, as towards flips; in the authors' program "
            "all count the same there."),
    Table("Order of places", (
        Row("raster", "S3", "raster", {"FID": 4.51}), Row("random", "S3", "random", {"FID": 7.12}),
        Row("**by entropy**", "S3", paper={"FID": 3.17}),
    ), note="In the paper raster takes 8.8 times as long as entropy order."),
    Table("Last draw", (
        Row("rounded", "S3", "rounded", {"FID": 3.19}), Row("**drawn**", "S3", paper={"FID": 3.17}),
    )),
    Table("Labels and the probe", (
        Row("with labels", "S3", paper={"probe": 67.5}), Row("without", "no-labels", paper={"probe": 68.3}),
    ), "probe"),
    Table("Position embeddings at the input", tuple(
        Row(f"{kind}, K = {bits}, {steps:,} steps{', with positions' if positions else ''}", of_positions(kind, bits, steps, positions))
        for bits, steps, kind, positions in product(POSITION_BITS, POSITION_STEPS, ("S3", "S2"), (False, True))
    ), note="Without them every hidden place enters the published network alike, and its rotary angles only weigh equal values: with "
            "everything hidden it cannot tell one place from another before its head."),
    Table("Heads over many values, with positions", tuple(
        Row(f"{kind}, K = {MANY}, {head}", f"{kind} of 2^{MANY}") for kind, head in zip(
            ("S0", "S1", "S2", "S3"),
            ("categorical, autoregressive", "categorical, masked", "binary, autoregressive", "binary, masked"), strict=True)
    ), note=f"A categorical head has 2^{MANY} logits a place here, as the paper's has 2^16 and more."),
    Table("Bits of a place", (
        Row("K = 8", "K8"), Row("K = 12", "S3"), Row("K = 16", "K16"), Row("K = 24", "K24"),
    )),
)  # fmt: skip
