"""A trial of the arena: one quantizer inside VQGAN's encoder and decoder (arXiv 2012.09841), and a small masked prior over its digits.

We differ in training without an adversary, and by Muon; all but the quantizer is the same in every trial on the same data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.priors.masked_digits import MaskedDigitsSpec
from bitmosaic.quantizers import CosineSpec, FrozenFeaturesSpec, NearestSpec, QuantizerSpec
from bitmosaic.quantizers.base import schemes
from bitmosaic.quantizers.codebook import CodebookSpec
from bitmosaic.quantizers.product import FactorizedSpec, ProductSpec, ResidualSpec
from bitmosaic.samplers import MaskGITSamplerSpec
from bitmosaic.systems.base import Task
from bitmosaic.systems.tokenizers.sources import CLASSES, SOURCES, TEACHER, Source
from bitmosaic.tokenizers.vqgan import VQGANSpec
from bitmosaic.train.optimizers import MuonSpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, PriorStage, TokenizerStage
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training

TOKENIZER_STEPS, PRIOR_STEPS, PRIOR_BATCH = 500, 500, 64
WIDTH = 8  # of every codeword; see `quantizer`
EQUAL, MANY = 10, 32  # bits of a place: at which all are compared, and of those schemes that hold so many
SCHEMES = (
    "bernoulli", "lfq", "bsq", "fsq", "ifsq", "nearest", "ema", "cosine", "simvq", "features", "ibq", "gumbel", "product", "factorized",
    "residual",
)  # fmt: skip
ROUNDS = 12
SAMPLERS = {
    f"temperature {t:g}": MaskGITSamplerSpec(ROUNDS, guidance_scale=1.0, temperature=t) for t in (1.0, 2.5, 4.5)
}  # of which each scheme has the best


@dataclass(frozen=True)
class Trial:
    """A scheme on a data set, at so many bits a place."""

    source: Source
    scheme: str
    bits: int

    @property
    def name(self) -> str:
        """Such as "fashion fsq 10"."""
        return f"{self.source.name} {self.scheme} {self.bits}"

    @staticmethod
    def named(name: str) -> Trial:
        """The trial of that name."""
        source, scheme, bits = name.split()
        return Trial(SOURCES[source], scheme, int(bits))

    def run(self, task: Task) -> Run:
        """The whole training. Its feature network is the teacher, which the experiment trains once."""
        return run_of(self.source, quantizer(self.scheme, self.bits), task)


def trials() -> tuple[Trial, ...]:
    """All of them: at equal bits, then at equal places those schemes that hold more bits than that."""
    wide = [scheme for scheme in SCHEMES if quantizer(scheme, MANY) != quantizer(scheme, EQUAL)]
    return tuple(
        Trial(source, scheme, bits)
        for bits, names in ((EQUAL, SCHEMES), (MANY, wide)) for source in SOURCES.values() for scheme in names
    )  # fmt: skip


def quantizer(scheme: str, bits: int) -> QuantizerSpec:
    """A scheme as `--quantizer` takes it, with codewords of width 8: wide ones are what SimVQ's own claim compares, and a table of fewer
    than 16 columns is no matrix to Muon, so that codewords move by Adam, as published.
    """
    spec = schemes()[scheme].of_bits(bits)
    if isinstance(spec, FrozenFeaturesSpec):
        return replace(spec, width=WIDTH, features=TEACHER[-1])
    if isinstance(spec, CodebookSpec):
        return replace(spec, width=WIDTH)
    if isinstance(spec, ProductSpec | FactorizedSpec):
        assert all(isinstance(part, NearestSpec | CosineSpec) for part in spec.parts)
        return replace(spec, parts=tuple(replace(part, width=WIDTH) for part in spec.parts))
    return replace(spec, inner=replace(spec.inner, width=WIDTH)) if isinstance(spec, ResidualSpec) else spec


def run_of(source: Source, scheme: QuantizerSpec, task: Task) -> Run:
    """The run of a quantizer: a teacher, a tokenizer, its codes and a prior."""
    common = {"decay": "cosine", "precision": "auto", "seed": task.seed, "pictures_every": 10**6, "keep": 1}
    tokenizer = VQGANSpec((source.size, source.size), source.channels, scheme, 16, source.multipliers, 1, (), 64, 8)
    prior = MaskedDigitsSpec(tokenizer.grid, scheme.radix, 4, 4, 128, 512, ClassConditionSpec(CLASSES))
    losses = TokenizerLosses(squared_weight=4.0, perceptual_weight=source.perceptual)
    return Run(f"arena-{source.name}", source.spec(task.data), (
        source.teaching(task),
        TokenizerStage(tokenizer, losses, Training(
            task.some(TOKENIZER_STEPS, 2), source.batch, learning_rate=1e-3, warmup_steps=task.some(30),
            optimizer=MuonSpec(matrix_rate=2.0, betas=(0.5, 0.95)), ema_decay=0.98, **common)),
        CodesStage(),
        PriorStage(prior, prior_training=Training(
            task.some(PRIOR_STEPS, 2), PRIOR_BATCH, learning_rate=2e-3, warmup_steps=task.some(50), weight_decay=2e-2, ema_decay=0.98,
            **common), sampler=SAMPLERS["temperature 1"]),
    ))  # fmt: skip
