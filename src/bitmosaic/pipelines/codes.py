"""Pipeline: what users hold. A tokenizer, a prior and a sampler that make, complete, encode and understand images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib import resources
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitmosaic.codec import ONE, StaticCoder, load_fitted, save_fitted
from bitmosaic.codes import Codes, described, digit_dtype
from bitmosaic.folders import load_part, read_json, save_part, write_json, written_beside
from bitmosaic.images import Fit, Output, check_output, fitted, to_output
from bitmosaic.images.read import as_colour
from bitmosaic.names import composed
from bitmosaic.nets.int8 import Int8Linear, quantize
from bitmosaic.pipelines import compression, editing
from bitmosaic.priors import Prior
from bitmosaic.priors.likelihood import code_length
from bitmosaic.samplers import DEFAULT, PRESETS, SAMPLERS, LlamaGenSamplerSpec, MaskGITSamplerSpec, RasterSpec, SamplerSpec, Step
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.values import value, values

KEYS = {"type", "class_names", "sampler"}  # of a pipeline's config.json; "background" may stand there too
Condition = None | int | str | dict[Any, float] | Sequence


class Pipeline:
    """Images <-> codes <-> prior, with the names of diffusers where it has them.

    `condition` is a class (its number or name), a blend {class: weight}, None for the null class, or several of these, one an image, in a
    list; numbers may come in tensors and arrays, a data set's labels as they are. Seeds likewise.
    """

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
        grid = tuple(side // tokenizer.factor for side in tokenizer.image_size)
        if grid != tuple(prior.grid):
            raise ValueError(f"tokenizer makes {grid} places of images of {tokenizer.image_size}, prior wants {tuple(prior.grid)}")
        self.tokenizer, self.prior = tokenizer.eval(), prior.eval()
        self.sampler = sampler or default_sampler(prior)
        self.class_names = tuple(class_names) or tuple(str(i) for i in range(classes))
        self.static, self.background, self.logit_scale = static, background, logit_scale

    @staticmethod
    def from_pretrained(path: str | Path = "fashion", device: str = "cpu", dtype: torch.dtype = torch.float32) -> Pipeline:
        """The pipeline in a folder, or one of the zoo by name. ValueError names the file, field or tensor that does not fit.

        `dtype` as in `to`. Weights that the folder holds in that type are memory-mapped.
        """
        folder = find_pipeline(path)
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.keys() - {"background"} != KEYS or config["type"] != "Pipeline":
            alone = isinstance(config, dict) and (folder / "model.safetensors").is_file()
            what = f"; this is a {config.get('type')} alone, join it by 'bitmosaic convert TOKENIZER PRIOR'" if alone else ""
            wanted = "want an object with type 'Pipeline', class_names and sampler, perhaps background, and no more"
            raise ValueError(f"{folder / 'config.json'}: {wanted}{what}")
        sampler = Spec.from_json(config["sampler"], f"{folder / 'config.json'}: sampler")
        names = config["class_names"]
        if not isinstance(sampler, SamplerSpec) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{folder / 'config.json'}: sampler must be a sampler's spec and class_names a list of strings")
        background = config.get("background", "white")
        try:
            as_colour(background)
        except ValueError as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from error
        kept = None if dtype is torch.int8 else dtype
        tokenizer, prior = load_part(folder / "tokenizer", Tokenizer, kept), load_part(folder / "prior", Prior, kept)
        static, scale = load_fitted(folder / "codec.safetensors")
        return Pipeline(tokenizer, prior, sampler, names, static, background, scale).to(device, dtype)

    def save_pretrained(self, path: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes the folder that `from_pretrained` reads, whole or not at all; an older one there is replaced."""
        path = Path(path).expanduser()
        check_replaceable(path)
        if any(isinstance(m, Int8Linear) for m in self.prior.modules()):
            raise ValueError("dtype: this pipeline was turned to int8, which is for drawing only; save one that was not")
        with written_beside(path) as folder:
            save_part(self.tokenizer, self.tokenizer.spec, folder / "tokenizer", dtype)
            save_part(self.prior, self.prior.spec, folder / "prior", dtype)
            write_json(folder / "config.json", pipeline_config(self.class_names, self.sampler, self.background))
            save_fitted(folder / "codec.safetensors", self.static, self.logit_scale)

    def to(self, device=None, dtype: torch.dtype | None = None) -> Pipeline:
        """Moves the weights.

        bf16 samples faster where the processor has bf16 products (`bitmosaic.nets.precision.has_bf16_products`). torch.int8 is for
        CPUs: the prior's linear layers multiply 8-bit integers, all else is float32; there is no way back, and it cannot be saved.
        """
        if dtype is torch.int8:
            if torch.device(device or self.device).type != "cpu":
                raise ValueError(f"dtype: int8 is for CPUs; got device {device or self.device}, where bf16 is fast")
            quantize(self.prior).float()
            dtype = torch.float32
            self.tokenizer.to(device, dtype)
            return self
        self.tokenizer.to(device=device, dtype=dtype)
        self.prior.to(device=device, dtype=dtype)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.prior.parameters()).device

    def __call__(
        self, condition: Condition = None, seeds: int | Sequence[int] | None = None, *, guidance_scale: float | None = None,
        num_inference_steps: int | None = None, output_type: Output = "pil", batch_size: int = 64,
        callback_on_step_end: Callable[[Step], None] | None = None, **settings,
    ) -> Any:  # fmt: skip
        """New images, one for each condition and seed; image i depends on its own condition and seed alone, up to rounding: in bf16, and
        seldom in float32 on a GPU, another batch size can tip a bit (docs/performance.md).

        One condition is used for all seeds. `seeds` None: 0, 1, 2, ... as many as conditions. `settings` are further fields of the
        sampler's spec, such as evaluations or temperature, or another `sampler` (see the method `settings`). `output_type`: "pil" a
        list, "np" (n, H, W, C) uint8, "pt" (n, C, H, W) in [0, 1].
        """
        settings = _given(**{"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, **settings})
        check_output(output_type, batch_size)
        conditions, seeds = self._pairs(condition, seeds)
        images = []
        for start in range(0, len(seeds), batch_size):
            part = slice(start, start + batch_size)
            for step in self._generate(conditions[part], seeds[part], settings):
                if callback_on_step_end is not None:
                    callback_on_step_end(step)
            images.append(self._pixels(step.codes))
        return to_output(torch.cat(images), output_type)

    def stream(self, condition: Condition = None, seeds: int | Sequence[int] | None = None, **settings) -> Iterator[Step]:
        """The steps of `__call__` for one batch; decode(step.codes) shows where it stands. Settings as there."""
        yield from self._generate(*self._pairs(condition, seeds), _given(**settings))

    def complete(
        self, codes: Codes, known: Tensor, condition: Condition = None, seeds: int | Sequence[int] | None = None, **settings
    ) -> Iterator[Step]:
        """Steps that fill the places where `known` (b, *grid) is False; known codes are never touched. All editing is this call."""
        if not len(codes):
            raise ValueError("codes: got those of no image; give those of one at least")
        condition = value(condition)
        conditions, seeds = self._pairs([condition] * len(codes) if _is_single(condition) else condition, seeds)
        if len(conditions) != len(codes):
            raise ValueError(f"condition and seeds: got {len(conditions)} for {len(codes)} images")
        return self._complete(codes, known, conditions, self._generators(seeds), settings)

    inpaint, outpaint, edit = editing.inpaint, editing.outpaint, editing.edit
    interpolate, enrich = editing.interpolate, editing.enrich
    compress, decompress = compression.compress, compression.decompress

    def encode(self, images: Any, fit: Fit = "exact") -> Codes:
        """Codes of PIL images, arrays (H, W[, C]) or tensors (C, H, W), one or a list, or a batch tensor (n, C, H, W).

        fit, for images of other sizes than the tokenizer's, and for colour where it knows grey: "exact" refuses them by a ValueError,
        "crop" takes their centre, scales it, and makes grey of colour. Transparent ones are laid on `background`.
        """
        return self._codes(self._images(images, fit))

    def decode(self, codes: Codes, output_type: Output = "pil") -> Any:
        """Images of codes."""
        return to_output(self._pixels(codes), output_type)

    def features(
        self, images: Any, layer: int | None = None, condition: Condition = None, pool: bool | int | None = None, fit: Fit = "exact"
    ) -> Tensor:  # fmt: skip
        """The prior's residual stream after block `layer` of fully visible images, for a linear classifier.

        By default what a linear classifier reads best: `feature_layer`, and all places side by side, (n, N D). pool: True the mean over
        places, (n, D); False all of them apart, (n, N, D); a number g the means of g x g parts of the image, (n, g g, D), which are fewer
        numbers. fit: as for `encode`. An image's features are the same bits alone and among others on a CPU.
        ValueError for no images, a layer that there is not, or more parts than places.
        """
        layer = self.feature_layer if layer is None else layer
        return self._features(self.encode(images, fit), [layer], condition, pool)[0]

    @property
    def feature_layer(self) -> int:
        """The block after which features are read by default, two thirds of the way: 4 of 0 to 5, the best of the shipped model's."""
        return 2 * len(self.prior.blocks) // 3

    def forward_intermediates(
        self, images: Any, indices: int | Sequence[int] | None = None, condition: Condition = None, pool: bool | int = False,
        fit: Fit = "exact",
    ) -> list[Tensor]:  # fmt: skip
        """The streams after blocks `indices`, in one pass, each as `features` has it.

        As in timm, None is all of them, a number the last so many, and -1 the last of all.
        """
        every = list(range(len(self.prior.blocks)))
        if indices is None or isinstance(indices, Integral):
            chosen = every if indices is None else every[max(0, len(every) - indices) :]
        else:
            chosen = [i + len(every) if i < 0 else i for i in indices]
        return self._features(self.encode(images, fit), chosen, condition, pool)

    def forward_features(self, images: Any, condition: Condition = None, fit: Fit = "exact") -> Tensor:
        """What the last block and the last norm make of fully visible images, (n, N, D); the name is timm's."""
        last = self.forward_intermediates(images, [len(self.prior.blocks) - 1], condition, fit=fit)[0]
        with torch.no_grad():
            return self.prior.norm(last.to(self.prior.norm.weight.dtype)).float()

    def _features(self, codes: Codes, layers: list[int], condition: Condition, pool: bool | int | None) -> list[Tensor]:
        conditions, _ = self._pairs(condition, list(range(len(codes))))
        labels = self._labels(conditions)
        at_once, parts = 8 if self.device.type == "cpu" else 64, []
        with torch.no_grad():
            for start in range(0, len(codes), at_once):
                own = range(start, min(start + at_once, len(codes)))
                some = (list(own) * at_once)[:at_once]  # always as many: a product of few rows sums in another order than one of many
                found = self.prior.intermediates(codes[some], None if labels is None else labels[some], layers)
                parts.append([x[: len(own)] for x in found])
        return [torch.cat([pooled(part.float(), self.prior.grid, pool) for part in layer]) for layer in zip(*parts, strict=True)]

    def _generate(self, conditions: list, seeds: list[int], settings: dict[str, Any]) -> Iterator[Step]:
        grid, k = self.prior.grid, len(self.prior.radix)
        codes = Codes(torch.zeros(len(seeds), *grid, k, dtype=digit_dtype(self.prior.radix), device=self.device), self.prior.radix)
        known = torch.zeros(len(seeds), *grid, dtype=torch.bool, device=self.device)
        return self._complete(codes, known, conditions, self._generators(seeds), settings)

    def _generators(self, seeds: list[int]) -> list[torch.Generator]:
        """One an image, where the weights are."""
        return [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def _complete(self, codes: Codes, known: Tensor, conditions: list, generators: list, settings: dict) -> Iterator[Step]:
        sampler = self.settings(**settings).build()
        return sampler(self.prior, codes.to(self.device), known.to(self.device), self._labels(conditions), generators)

    def settings(self, sampler: str | SamplerSpec | None = None, **changes) -> SamplerSpec:
        """The sampler's spec with some fields changed, those that are not None (num_inference_steps is diffusers' word for steps).

        `sampler`: another one, by its spec; by its name, which then keeps the pipeline's own values of fields that both have; or
        whole settings by name: "fast", what `Pipeline(tokenizer, prior)` draws with where it is given no sampler (a saved pipeline has
        its own settings, the shipped one other guidance and temperature), or "looks", chosen by eye.
        ValueError names a field that it does not have.
        """
        changes = {"steps" if name == "num_inference_steps" else name: value for name, value in _given(**changes).items()}
        spec = sampler if isinstance(sampler, SamplerSpec) else self._other_sampler(sampler)
        known = {f.name for f in fields(spec)}
        unknown = sorted(changes.keys() - known)
        if unknown:
            raise ValueError(f"{type(spec).__name__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return Spec.from_json({**spec.to_json(), **changes}, "settings")  # types and choices are checked there

    def _other_sampler(self, name: str | None) -> SamplerSpec:
        if name is None:
            return self.sampler
        if name in PRESETS:
            return PRESETS[name]
        if name not in SAMPLERS:
            raise ValueError(f"sampler: no sampler {name!r}; there are {', '.join([*SAMPLERS, *PRESETS])}")
        both = {f.name for f in fields(SAMPLERS[name])} & {f.name for f in fields(self.sampler)}
        return SAMPLERS[name](**{field: getattr(self.sampler, field) for field in both})

    @property
    def _at_once(self) -> int:
        """Images that the tokenizer is given at once, so that memory stays."""
        return max(1, 64 * 64 * 64 // math.prod(self.tokenizer.image_size))

    def _pixels(self, codes: Codes) -> Tensor:
        """Images (n, C, H, W) of codes."""
        if not len(codes):
            raise ValueError("codes: got those of no image; give those of one at least")
        with torch.no_grad():
            parts = [self.tokenizer.decode(codes[some].to(self.device))[:own] for some, own in self._parts(len(codes))]
            return torch.cat(parts).float()

    def _codes(self, pixels: Tensor) -> Codes:
        """Codes of pixels (n, C, H, W) in [0, 1] of the tokenizer's size."""
        dtype = next(self.tokenizer.parameters()).dtype
        with torch.no_grad():
            parts = [self.tokenizer.encode(pixels[some].to(self.device, dtype))[:own] for some, own in self._parts(len(pixels))]
        return Codes(torch.cat([part.digits for part in parts]), parts[0].radix)

    def _parts(self, images: int) -> Iterator[tuple[list[int], int]]:
        """Images that the tokenizer is given together, and how many of them are asked for.

        One alone is given twice where there is room for two: for a batch of one, oneDNN takes another way to convolve, the last digits
        differ, and with them now and then a pixel; an image should not depend on its batch.
        """
        for start in range(0, images, self._at_once):
            some = list(range(start, min(start + self._at_once, images)))
            yield some * 2 if len(some) == 1 < self._at_once else some, len(some)

    def _code_length(self, codes: Codes, known: Tensor, conditions: list) -> Tensor:
        """Bits (n,) that the places not known cost, with an order and noise that are the same for all answers."""
        rng = torch.Generator(self.device).manual_seed(0)
        return code_length(self.prior, codes, known, self._labels(conditions), rng).cpu()

    def _images(self, images: Any, fit: Fit = "exact") -> Tensor:
        """(n, C, H, W) floats in [0, 1] of the tokenizer's size."""
        if isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
            images = list(images)
        images = images if isinstance(images, list | tuple) else [images]
        if not images:
            raise ValueError("images: got none; give at least one")
        size, channels = self.tokenizer.image_size, self.tokenizer.channels
        return torch.stack([fitted(image, size, channels, fit, self.background) for image in images]).float() / 255

    def _pairs(self, condition: Condition, seeds: int | Sequence[int] | None) -> tuple[list, list[int]]:
        """Conditions and seeds of equal length."""
        condition, seeds = value(condition), value(seeds)
        conditions = [condition] if _is_single(condition) else values(condition, "condition")
        if not conditions:
            raise ValueError("condition: got an empty list; give a class, None for no class, or one an image")
        seeds = list(range(len(conditions))) if seeds is None else [seeds] if isinstance(seeds, Integral) else values(seeds, "seeds")
        wrong = [seed for seed in seeds if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**63]
        if wrong or not seeds:
            raise ValueError(f"seeds: got {repr(wrong[0]) if wrong else 'none'}; want whole numbers from 0 to 2^63 - 1, one at least")
        if len(conditions) == 1:
            conditions = conditions * len(seeds)
        if len(seeds) == 1 and len(conditions) > 1:
            seeds = seeds * len(conditions)
        if len(conditions) != len(seeds):
            raise ValueError(f"got {len(conditions)} conditions and {len(seeds)} seeds; want as many of each, or one of either")
        return conditions, [int(seed) for seed in seeds]

    def _labels(self, conditions: list) -> Tensor | None:
        """Class weights (b, classes) where any image blends, else class numbers (b,); None where no image has a class."""
        classes = self.prior.condition.classes
        if all(c is None for c in conditions):
            return None
        if classes == 0:
            raise ValueError(f"condition: got {next(c for c in conditions if c is not None)!r}; this pipeline was trained without classes")
        if any(isinstance(c, dict) for c in conditions):
            rows = torch.zeros(len(conditions), classes + 1)
            for row, c in zip(rows, conditions, strict=True):
                if isinstance(c, dict) and not c:
                    raise ValueError("condition: got a blend of no class; give weights, such as {'bag': 0.5, 'sandal': 0.5}")
                for name, weight in c.items() if isinstance(c, dict) else [(c, 1.0)]:
                    row[self.class_number(name)] += float(weight)
            return rows.to(self.device)
        return torch.tensor([self.class_number(c) for c in conditions], device=self.device)

    def _numbers(self, name: str) -> list[int]:
        """Of the classes of that name: of that very spelling, or else of one that differs in how accents are written alone."""
        exact = [i for i, own in enumerate(self.class_names) if own == name]
        return exact or [i for i, own in enumerate(self.class_names) if composed(own) == composed(name)]

    def class_number(self, name: int | str | None) -> int:
        """The number of a class given by number or name; None is the null class, which follows the last."""
        classes, name = self.prior.condition.classes, value(name)
        if name is None:
            return classes
        if isinstance(name, str):
            numbers = self._numbers(name)
            if len(numbers) > 1:
                told = " or ".join(map(str, numbers))
                raise ValueError(f"condition: {len(numbers)} classes are called {name!r}; give a number, {told}")
            if numbers:
                return numbers[0]
            if name.isascii() and name.isdecimal():
                name = int(name)
        if isinstance(name, Integral) and not isinstance(name, bool) and 0 <= name < classes:
            return int(name)
        raise ValueError(f"condition: no class {name!r}; classes are {_listed(self.class_names)}")


def default_sampler(prior: Prior) -> SamplerSpec:
    """What a pipeline draws with that is given no sampler."""
    if set(prior.radix) == {2}:
        return RasterSpec(DEFAULT.evaluations, DEFAULT.guidance_scale) if prior.family == "causal" else DEFAULT
    scale = DEFAULT.guidance_scale if prior.condition.classes else 1.0
    return LlamaGenSamplerSpec(scale) if prior.family == "causal" else MaskGITSamplerSpec(guidance_scale=scale)


def pooled(x: Tensor, grid: tuple[int, int], pool: bool | int | None) -> Tensor:
    """Features of places (n, N, D): side by side (n, N D), their mean (n, D), all of them, or means of g x g parts (n, g g, D).

    By `pool` None, True, False or g, as `Pipeline.features` says.
    """
    if pool is None:
        return x.flatten(1)
    if pool is True:
        return x.mean(1)
    if pool is False:
        return x
    if not isinstance(pool, Integral) or not 1 <= pool <= min(grid):
        raise ValueError(f"pool: got {pool!r}; want None, True, False, or parts along a side from 1 to {min(grid)}")
    planes = x.movedim(1, -1).unflatten(-1, grid)
    return nn.functional.adaptive_avg_pool2d(planes, pool).flatten(2).movedim(1, -1)


def find_pipeline(path: str | Path) -> Path:
    """The folder of a pipeline: a path, or the name of one in the zoo."""
    folder = Path(path)
    if (folder / "config.json").is_file():
        return folder
    if str(path) in zoo_names():
        return Path(str(resources.files("bitmosaic") / "zoo" / str(path)))
    if folder.exists():
        raise ValueError(f"{folder} holds no config.json, so it is no pipeline")
    raise ValueError(f"no pipeline {path}: not a folder, and the zoo has {', '.join(zoo_names()) or 'none'}")


def pipeline_config(class_names: Sequence[str], sampler: SamplerSpec, background: str = "white") -> dict[str, Any]:
    """What stands in a pipeline's config.json, beside the folders "tokenizer" and "prior"."""
    config = {"type": "Pipeline", "class_names": list(class_names), "sampler": sampler.to_json()}
    return config if background == "white" else {**config, "background": background}


def check_class_names(class_names: Sequence[str], classes: int) -> None:
    """ValueError unless there are no names or as many as classes."""
    if class_names and len(class_names) != classes:
        raise ValueError(f"class_names: got {len(class_names)} names for a prior of {classes} classes")


def check_replaceable(path: Path) -> None:
    """ValueError unless a pipeline may be written at `path`: nothing there, an empty folder, or another pipeline and no more."""
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not _is_pipeline(path))):
        raise ValueError(f"path: {path} holds something that is no pipeline, so it stays; give a new or empty folder")
    if path.is_dir():
        other = sorted({p.name for p in path.iterdir()} - {"config.json", "tokenizer", "prior", "README.md", "codec.safetensors"})
        if other:
            raise ValueError(f"path: {path} holds {other[0]} beside a pipeline, which would be lost; give a new or empty folder")
        if path.resolve() == Path.cwd():
            raise ValueError(f"path: {path} is the working folder, which cannot be replaced; give another one")


def _is_pipeline(folder: Path) -> bool:
    try:
        return read_json(folder / "config.json")["type"] == "Pipeline"
    except (ValueError, KeyError, TypeError):
        return False


def zoo_names() -> list[str]:
    """The pipelines that ship with the package."""
    zoo = Path(str(resources.files("bitmosaic") / "zoo"))
    return sorted(p.parent.name for p in zoo.glob("*/config.json"))


def _is_single(condition: Condition) -> bool:
    return condition is None or isinstance(condition, Integral | str | dict)


def _listed(names: Sequence[str], most: int = 20) -> str:
    """Numbered names, the first ones of very many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{i} {name}" for i, name in enumerate(names[:most])) + more


def _given(**settings) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if v is not None}
