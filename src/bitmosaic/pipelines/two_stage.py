"""The base class of pipelines over codes: pictures <-> codes by a tokenizer, codes given a condition by a prior and a sampler.

Two stages in the sense of VQ-VAE (van den Oord et al., arXiv 1711.00937). Subclasses decide where the six abstract methods compute:
`CodesPipeline` in the calling thread, the studio's guest in the thread of its model. Editing, compression, search and probing are
functions over it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from bitmosaic.codec import ONE, StaticCoder
from bitmosaic.codes import Codes, digit_dtype
from bitmosaic.conditions import ConditionReader
from bitmosaic.images import Fit
from bitmosaic.media import Medium
from bitmosaic.pipelines import conditions as given
from bitmosaic.pipelines.conditions import Condition, Seeds
from bitmosaic.pipelines.features import Pool
from bitmosaic.pipelines.protocol import OnStep, Pipeline
from bitmosaic.pipelines.settings import changed, sampler_of
from bitmosaic.priors import Prior
from bitmosaic.priors.base import Family
from bitmosaic.samplers import SamplerSpec, Step
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.values import value


class TwoStagePipeline(Pipeline):
    """Pictures <-> codes <-> prior."""

    does = "has codes: a tokenizer and a prior"
    part_names = ("tokenizer", "prior")

    tokenizer: Tokenizer
    prior: Prior
    sampler: SamplerSpec  # its own settings
    static: StaticCoder | None = None  # frequencies of bits, for `compress`
    logit_scale: int = ONE  # factor of the prior's logits in `compress`, in 16ths

    # ---- where it computes; conditions and generators are one an image

    @abc.abstractmethod
    def fill(
        self, codes: Codes, known: Tensor, conditions: list, generators: list[torch.Generator], settings: SamplerSpec
    ) -> Iterator[Step]:  # fmt: skip
        """Steps that fill the places where `known` (b, *grid) is False; known codes are never touched."""

    @abc.abstractmethod
    def encode_pixels(self, pixels: Tensor) -> Codes:
        """Codes of signals (n, C, *size), pixels in [0, 1], of its own size."""

    @abc.abstractmethod
    def decode_pixels(self, codes: Codes) -> Tensor:
        """Signals (n, C, *size), pixels in [0, 1], of codes."""

    @abc.abstractmethod
    def code_features(self, codes: Codes, layers: Sequence[int], conditions: list, pool: Pool = None) -> list[Tensor]:
        """As `features`, of codes and of several layers in one pass."""

    @abc.abstractmethod
    def code_length(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        """Code length in bits, (n,), of the places not known (`priors.likelihood.code_length`), in one order for all images."""

    @abc.abstractmethod
    def entropy(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        """Marginal entropy of each hidden place, (n, *grid) in [0, 1] (`priors.likelihood.marginal_entropy`)."""

    # ---- what it is

    @property
    def medium(self) -> Medium:
        return self.tokenizer.medium

    @property
    def size(self) -> tuple[int, ...]:
        return self.tokenizer.size

    @property
    def channels(self) -> int:
        return self.tokenizer.channels

    @property
    def factor(self) -> int:
        """Pixels along the side of a place. ValueError where places are not squares of a picture."""
        if self.tokenizer.factor is None:
            raise ValueError("pipeline: its places are no squares of a picture; `complete` fills its codes, whatever they are of")
        return self.tokenizer.factor

    @property
    def grid(self) -> tuple[int, ...]:
        """Places along each axis of the code grid, for pictures (rows, columns)."""
        return tuple(self.prior.grid)

    @property
    def radix(self) -> tuple[int, ...]:
        """The number of values of each digit of a place."""
        return self.prior.radix

    @property
    def family(self) -> Family:
        """The family of the prior: masked, causal or denoising (`priors.base`)."""
        return self.prior.family

    @property
    def reader(self) -> ConditionReader:
        return self.prior.condition.reader(self.class_names)

    def settings(self, sampler: str | SamplerSpec | None = None, **changes) -> SamplerSpec:
        """The sampler's spec with the fields changed that are not None (num_inference_steps is diffusers' name for steps).

        sampler: another one, by its spec; by its name, keeping the pipeline's values of fields that both have; or a preset by name:
        "fast", the default of `Pipeline(tokenizer, prior)` (saved pipelines have their own settings), or "looks", chosen by eye.
        ValueError names a field that it does not have.
        """
        return changed(sampler_of(sampler, self.sampler), changes)

    # ---- generate and complete

    def draw(self, conditions: list, seeds: list[int], settings: SamplerSpec, on_step: OnStep = None) -> Tensor:
        for step in self._from_nothing(conditions, seeds, settings):
            if on_step is not None:
                on_step(step)
        return self.decode_pixels(step.codes)

    def stream(self, condition: Condition = None, seeds: Seeds = None, **settings) -> Iterator[Step]:
        """The sampling steps of `__call__` for one batch; decode(step.codes) shows the image so far. Settings as there."""
        conditions, seeds = given.pairs(condition, seeds)
        yield from self._from_nothing(conditions, seeds, self.settings(**settings))

    def _from_nothing(self, conditions: list, seeds: list[int], settings: SamplerSpec) -> Iterator[Step]:
        shape = (len(seeds), *self.grid)
        codes = Codes(torch.zeros(*shape, len(self.radix), dtype=digit_dtype(self.radix), device=self.device), self.radix)
        known = torch.zeros(shape, dtype=torch.bool, device=self.device)
        return self.fill(codes, known, conditions, given.generators(seeds, self.device), settings)

    def complete(self, codes: Codes, known: Tensor, condition: Condition = None, seeds: Seeds = None, **settings) -> Iterator[Step]:
        """Steps that fill the places where `known` (b, *grid) is False; known codes are kept. All editing uses this."""
        if not len(codes):
            raise ValueError("codes: got those of no image; give those of one at least")
        condition = value(condition)
        conditions, seeds = given.pairs([condition] * len(codes) if given.is_single(condition) else condition, seeds)
        if len(conditions) != len(codes):
            raise ValueError(f"condition and seeds: got {len(conditions)} for {len(codes)} images")
        return self.fill(codes, known, conditions, given.generators(seeds, self.device), self.settings(**settings))

    # ---- pictures and codes

    def encode(self, images: Any, fit: Fit = "exact") -> Codes:
        """Codes of PIL images, arrays (H, W[, C]) or tensors (C, H, W), one or a list, or a batch tensor (n, C, H, W); of another medium
        of what its `fitted` takes, one, a list or a batch.

        fit, for images of other sizes than the tokenizer's, and in colour where it takes grey: "exact" raises ValueError, "crop" takes
        their centre, scales it, and converts to grey. Transparent ones are laid on `background`.
        """
        images = list(images) if self.medium.several(images) else [images]
        if not images:
            raise ValueError(f"{self.medium.plural}: got none; give at least one")
        signals = [self.medium.fitted(image, self.size, self.channels, fit, self.background) for image in images]
        return self.encode_pixels(self.medium.floats(torch.stack(signals)))

    def decode(self, codes: Codes, output_type: str | None = None) -> Any:
        """Images, or signals of another medium, of codes, in the form of `__call__`. ValueError for codes of no image, or another
        tokenizer's.
        """
        if not len(codes):
            raise ValueError("codes: got those of no image; give those of one at least")
        return self.medium.to_output(self.decode_pixels(codes), output_type)

    # ---- features

    @property
    def feature_layer(self) -> int:
        """The block after which features are taken by default, two thirds of the depth: of the shipped model 4 of 0 to 5, its best."""
        return 2 * len(self.prior.blocks) // 3

    def features(
        self, images: Any, layer: int | None = None, condition: Condition = None, pool: Pool = None, fit: Fit = "exact"
    ) -> Tensor:  # fmt: skip
        """The prior's residual stream after block `layer` of completely known images, for a linear classifier.

        Defaults give the best linear classifier: `feature_layer`, and all places concatenated, (n, N D). pool: True the mean over places,
        (n, D); False all places, (n, N, D); a number g the means over g x g parts of the grid, (n, g g, D). fit: as for `encode`. On a CPU
        an image's features do not depend on its batch (`pipelines.features`).
        ValueError for no images, an unknown layer, or more parts than places.
        """
        return self._features(images, [self.feature_layer if layer is None else layer], condition, pool, fit)[0]

    def forward_intermediates(
        self, images: Any, indices: int | Sequence[int] | None = None, condition: Condition = None, pool: Pool = False, fit: Fit = "exact"
    ) -> list[Tensor]:  # fmt: skip
        """`features` after several blocks from one pass.

        indices: as in timm, None is all blocks, a number n the last n, and -1 the last one.
        """
        every = list(range(len(self.prior.blocks)))
        if indices is None or isinstance(indices, Integral):
            chosen = every if indices is None else every[max(0, len(every) - indices) :]
        else:
            chosen = [i + len(every) if i < 0 else i for i in indices]
        return self._features(images, chosen, condition, pool, fit)

    def forward_features(self, images: Any, condition: Condition = None, fit: Fit = "exact") -> Tensor:
        """The stream after the last block and norm of completely known images, (n, N, D); the name is timm's."""
        last = self.forward_intermediates(images, [len(self.prior.blocks) - 1], condition, fit=fit)[0]
        with torch.no_grad():
            return self.prior.norm(last.to(self.prior.norm.weight.dtype)).float()

    def _features(self, images: Any, layers: list[int], condition: Condition, pool: Pool, fit: Fit) -> list[Tensor]:
        codes = self.encode(images, fit)
        conditions, _ = given.pairs(condition, list(range(len(codes))))
        return self.code_features(codes, layers, conditions, pool)
