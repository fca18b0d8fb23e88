"""CodesPipeline: a tokenizer, a prior and a sampler that generate, edit, understand and compress pictures.

Its jobs (`inpaint` ... `decompress`) are the functions of `editing` and `compression`, which take any TwoStagePipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from bitmosaic.codec import ONE, StaticCoder, load_fitted, save_fitted
from bitmosaic.codes import Codes, described
from bitmosaic.folders import load_part, save_part, write_json
from bitmosaic.images.read import as_colour
from bitmosaic.pipelines import compression, editing
from bitmosaic.pipelines.batches import batches
from bitmosaic.pipelines.conditions import check_class_names
from bitmosaic.pipelines.features import Pool, code_features
from bitmosaic.pipelines.protocol import check_config
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.priors import Prior
from bitmosaic.priors.likelihood import code_length, marginal_entropy
from bitmosaic.samplers import DEFAULT, AncestralSpec, LlamaGenSamplerSpec, MaskGITSamplerSpec, RasterSpec, SamplerSpec, Step
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors
from bitmosaic.tokenizers import Tokenizer


class CodesPipeline(TwoStagePipeline, saved_as=("CodesPipeline", "Pipeline")):
    """Pictures <-> codes <-> prior, computed where it is called."""

    more_files = ("codec.safetensors",)

    def __init__(
        self, tokenizer: Tokenizer, prior: Prior, sampler: SamplerSpec | None = None, class_names: Sequence[str] = (),
        static: StaticCoder | None = None, background: str = "white", logit_scale: int = ONE,
    ):  # fmt: skip
        """background: what transparent pictures are laid on, as in the data it saw. For `compress`: static, how often each bit is 1;
        logit_scale, what the prior's logits are multiplied by there, in 16ths.
        """
        as_colour(background)
        share_processors()
        classes = prior.condition.classes
        check_class_names(class_names, classes)
        if tokenizer.radix != prior.radix:
            raise ValueError(f"tokenizer makes {described(tokenizer.radix)}, prior wants {described(prior.radix)}")
        if tuple(tokenizer.spec.grid) != tuple(prior.grid):
            what = f"{tokenizer.medium.plural} of {tokenizer.size}"
            raise ValueError(f"tokenizer makes {tuple(tokenizer.spec.grid)} places of {what}, prior wants {tuple(prior.grid)}")
        self.tokenizer, self.prior = tokenizer.eval(), prior.eval()
        self.sampler = sampler or default_sampler(prior)
        self.class_names = tuple(class_names) or tuple(str(i) for i in range(classes))
        self.static, self.background, self.logit_scale = static, background, logit_scale

    # ---- on disk

    @classmethod
    def read(cls, folder: Path, config: dict[str, Any], dtype: torch.dtype | None, network: torch.dtype | None) -> Self:
        names, background = check_config(folder / "config.json", config, {"sampler"})
        sampler = Spec.from_json(config["sampler"], f"{folder / 'config.json'}: sampler")
        if not isinstance(sampler, SamplerSpec):
            raise ValueError(f"{folder / 'config.json'}: sampler must be a sampler's spec")
        tokenizer, prior = load_part(folder / "tokenizer", Tokenizer, dtype), load_part(folder / "prior", Prior, network)
        static, scale = load_fitted(folder / "codec.safetensors")
        return cls(tokenizer, prior, sampler, names, static, background, scale)

    def write(self, folder: Path, dtype: torch.dtype | None) -> None:
        for name, part in self.parts.items():
            save_part(part, part.spec, folder / name, dtype)
        write_json(folder / "config.json", pipeline_config(self.class_names, self.sampler, self.background))
        save_fitted(folder / "codec.safetensors", self.static, self.logit_scale)

    def decode_in(self, dtype: torch.dtype) -> None:
        self.tokenizer.decode_in(dtype)

    # ---- where it computes

    def fill(
        self, codes: Codes, known: Tensor, conditions: list, generators: list[torch.Generator], settings: SamplerSpec
    ) -> Iterator[Step]:  # fmt: skip
        return settings.build()(self.prior, codes.to(self.device), known.to(self.device), self.labels(conditions), generators)

    def encode_pixels(self, pixels: Tensor) -> Codes:
        encode, dtype = self.tokenizer.encode, self.tokenizer.dtype
        with torch.no_grad():
            parts = [encode(pixels[some].to(self.device, dtype))[:own] for some, own in batches(len(pixels), self.size)]
        return Codes(torch.cat([part.digits for part in parts]), parts[0].radix)

    def decode_pixels(self, codes: Codes) -> Tensor:
        with torch.no_grad():
            parts = [self.tokenizer.decode(codes[some].to(self.device))[:own] for some, own in batches(len(codes), self.size)]
            return torch.cat(parts).float()

    def code_features(self, codes: Codes, layers: Sequence[int], conditions: list, pool: Pool = None) -> list[Tensor]:
        return code_features(self.prior, codes, self.labels(conditions), layers, pool)

    def code_length(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        rng = torch.Generator(self.device).manual_seed(0)
        return code_length(self.prior, codes, known, self.labels(conditions), rng).cpu()

    def entropy(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        rng = torch.Generator(self.device).manual_seed(0)
        return marginal_entropy(self.prior, codes, known, self.labels(conditions), rng).cpu()

    # ---- its jobs

    @wraps(editing.inpaint)
    def inpaint(self, *arguments, **settings):
        return editing.inpaint(self, *arguments, **settings)

    @wraps(editing.outpaint)
    def outpaint(self, *arguments, **settings):
        return editing.outpaint(self, *arguments, **settings)

    @wraps(editing.panorama)
    def panorama(self, *arguments, **settings):
        return editing.panorama(self, *arguments, **settings)

    @wraps(editing.edit)
    def edit(self, *arguments, **settings):
        return editing.edit(self, *arguments, **settings)

    @wraps(editing.interpolate)
    def interpolate(self, *arguments, **settings):
        return editing.interpolate(self, *arguments, **settings)

    @wraps(editing.enrich)
    def enrich(self, *arguments, **settings):
        return editing.enrich(self, *arguments, **settings)

    @wraps(compression.compress)
    def compress(self, *arguments, **settings):
        return compression.compress(self, *arguments, **settings)

    @wraps(compression.decompress)
    def decompress(self, *arguments, **settings):
        return compression.decompress(self, *arguments, **settings)


def default_sampler(prior: Prior) -> SamplerSpec:
    """What a pipeline draws with that is given no sampler."""
    scale = DEFAULT.guidance_scale if prior.condition.guides else 1.0
    if prior.family == "denoising":
        return AncestralSpec(guidance_scale=scale)
    if set(prior.radix) == {2}:
        return RasterSpec(DEFAULT.evaluations, DEFAULT.guidance_scale) if prior.family == "causal" else DEFAULT
    return LlamaGenSamplerSpec(scale) if prior.family == "causal" else MaskGITSamplerSpec(guidance_scale=scale)


def pipeline_config(class_names: Sequence[str], sampler: SamplerSpec, background: str = "white") -> dict[str, Any]:
    """What stands in a CodesPipeline's config.json, beside the folders "tokenizer" and "prior"."""
    config = {"type": CodesPipeline.saved_as, "class_names": list(class_names), "sampler": sampler.to_json()}
    return config if background == "white" else {**config, "background": background}
