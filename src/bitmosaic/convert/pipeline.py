"""Published files to the folder of a pipeline, or of one part, to be joined with another later."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from bitmosaic.codes import described
from bitmosaic.convert.checkpoint import read_file
from bitmosaic.convert.fqgan import is_fqgan, published_fqgan
from bitmosaic.convert.index_priors import (
    is_far,
    is_llamagen,
    is_maskgit,
    published_far,
    published_llamagen,
    published_maskgit,
)
from bitmosaic.convert.part import Converted
from bitmosaic.convert.prior import published_prior
from bitmosaic.convert.tokenizer import published_tokenizer
from bitmosaic.convert.vqgan import SchemeName, is_vqgan, published_vqgan
from bitmosaic.folders import load_part, read_json, real_path, save_tensors, write_json, written_beside
from bitmosaic.pipelines import check_class_names, check_replaceable, pipeline_config
from bitmosaic.priors import FARSpec, LlamaGenSpec, MaskGITSpec, Prior
from bitmosaic.priors.base import PriorSpec
from bitmosaic.samplers import EntropyOrderedSpec, LlamaGenSamplerSpec, MaskGITSamplerSpec, SamplerSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers import Tokenizer

PART = {"config.json", "model.safetensors"}  # files in the folder of a part
PUBLISHED_SAMPLERS = {  # width of the prior -> rounds and Gumbel temperature (table 8 of the paper: L, XL, XXL)
    1024: (20, 0.17), 1280: (25, 0.25), 1536: (25, 0.30),
}  # fmt: skip


def convert(
    tokenizer: str | Path, prior: str | Path, out: str | Path, *, heads: int | None = None, target: Literal["flips", "x_0"] | None = None,
    timesteps: int | None = None, grid: tuple[int, int] | None = None, quantizer: SchemeName | None = None,
    settings: dict[str, Any] | None = None, class_names: Sequence[str] = (), dtype: torch.dtype | None = None,
) -> Path:  # fmt: skip
    """Writes the pipeline of two published files, `tokenizer` (.th) and `prior` (.pt), into the folder `out`, which it returns.

    Either may be a folder that `convert_part` wrote, or any other that `load_part` reads. The image side follows from the prior's grid.

    heads: of the prior; None: width / 64 where the width is a published one, else it must be given. target: what the head's logits predict;
    None: as the file says, or flips, as published. timesteps: T of the head's diffusion; None: as the file says, or 256. grid: rows and
    columns of a prior over indices, whose tensors do not show them; None: 16 x 16 for LlamaGen, one row for MaskGIT. quantizer: which
    codeword of a codebook a vector has, "nearest", "cosine" or "ibq"; None: as published in the tokenizer's layout. settings: fields of
    the sampler that differ from the published setting of a prior of that width. dtype: of the weights on disk; None: unchanged, bit for
    bit, and then files are memory-mapped and never loaded whole.

    Raises ValueError that names the file and the tensors at fault; `out` is then as it was.
    """
    out = Path(out).expanduser()
    check_replaceable(out)
    _check_kept(out, tokenizer, prior)
    codes, images = _part(prior, "prior", Hints(heads, target, timesteps, grid)), _part(tokenizer, "tokenizer", Hints(quantizer=quantizer))
    images = _of_grid(images, codes.spec.grid)  # tensors of a tokenizer fit any side
    made, wanted = images.spec.radix, codes.spec.radix
    if made != wanted:
        raise ValueError(f"{tokenizer} makes {described(made)}, {prior} wants {described(wanted)}; they are no pair")
    classes = getattr(codes.spec.condition, "classes", 0)
    check_class_names(class_names, classes)
    sampler = _set(published_sampler(codes.spec), settings or {})
    config = pipeline_config(class_names or [str(i) for i in range(classes)], sampler)
    for path, part in ((tokenizer, images), (prior, codes)):
        part.check_values(path, dtype)
    with written_beside(out) as folder:
        for name, part in (("tokenizer", images), ("prior", codes)):
            save_tensors(part.tensors, part.spec, folder / name, dtype)
        write_json(folder / "config.json", config)
    return out


def convert_part(
    path: str | Path, out: str | Path, *, heads: int | None = None, target: Literal["flips", "x_0"] | None = None,
    timesteps: int | None = None, grid: tuple[int, int] | None = None, quantizer: SchemeName | None = None,
    dtype: torch.dtype | None = None,
) -> Path:  # fmt: skip
    """Writes one published file, a prior or a tokenizer, as the folder `out` of that part, which it returns.

    `Prior.from_pretrained` or `Tokenizer.from_pretrained` reads it, and `convert` takes it in the place of a file. Arguments and errors as
    of `convert`.
    """
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir()} - PART or out.resolve() == Path.cwd()):
        raise ValueError(f"out: {out} holds something that is no part of a pipeline, so it stays; give a new or empty folder")
    _check_kept(out, path)
    part = _part(path, "", Hints(heads, target, timesteps, grid, quantizer))
    part.check_values(path, dtype)
    with written_beside(out) as folder:
        save_tensors(part.tensors, part.spec, folder, dtype)
    return out


def read_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of one published file, in float32, without writing it anywhere. ValueError as of `convert`."""
    part = _part(path, "tokenizer")
    part.check_values(path)
    return part.build().float()


def _check_kept(out: Path, *paths: str | Path) -> None:
    """ValueError where an input lies in the folder that will be replaced."""
    for path in paths:
        if real_path(out) in (real_path(path), *real_path(path).parents):
            raise ValueError(f"out: {out} holds {path}, which would be lost; give another folder")


@dataclass(frozen=True)
class Hints:
    """Arguments that describe what tensors do not show: of a prior, the last of a tokenizer."""

    heads: int | None = None
    target: Literal["flips", "x_0"] | None = None
    timesteps: int | None = None
    grid: tuple[int, int] | None = None
    quantizer: SchemeName | None = None


NO_HINTS = Hints()


def _part(path: str | Path, kind: Literal["prior", "tokenizer", ""], hints: Hints = NO_HINTS) -> Converted:
    """The part in a published file or in a folder; kind "": either. ValueError names the path, also where it holds another kind."""
    if kind and Path(path).expanduser().is_dir():
        return _of_folder(Path(path).expanduser(), kind, hints)
    state, settings = read_file(path)
    of_indices = is_llamagen(state) or is_maskgit(state) or is_far(state)
    of_tokenizer = is_vqgan(state) or is_fqgan(state) or any(name.startswith("ae.") for name in state)
    is_prior = of_indices or "tok_embeddings.weight" in state or (kind != "tokenizer" and not of_tokenizer)
    if kind == "prior" and not is_prior:
        raise ValueError(f"{path}: this is a tokenizer; the prior's file comes second")
    if kind == "tokenizer" and is_prior:
        raise ValueError(f"{path}: this is a prior; the tokenizer's file comes first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about kinds of tensors that are refused here
            if of_indices:
                return _of_indices(state, hints)
            if is_prior:
                return published_prior(state, hints.heads, hints.target, hints.timesteps, settings)
            if is_fqgan(state) and not hints.quantizer:
                return published_fqgan(state, hints.heads)
            if is_vqgan(state):
                return published_vqgan(state, None, hints.quantizer)
            if hints.quantizer:
                raise ValueError("quantizer: this tokenizer has bits, and no codebook; leave it out")
            return published_tokenizer(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _of_indices(state: dict[str, torch.Tensor], hints: Hints) -> Converted:
    """A prior over codebook indices."""
    if hints.target is not None or hints.timesteps is not None:
        raise ValueError("target, timesteps: these are of a head of Bernoulli diffusion, which this prior does not have; leave them out")
    if is_far(state):
        return published_far(state, hints.grid or (16, 16), hints.heads)
    if is_llamagen(state):
        return published_llamagen(state, hints.grid or (16, 16), hints.heads)
    return published_maskgit(state, hints.grid, hints.heads)


def _of_folder(folder: Path, kind: str, given: Hints) -> Converted:
    """A part in a folder, as `convert_part` writes it."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: a folder without config.json; give a published file, .th or .pt, or the folder of a converted part")
    if given != NO_HINTS:
        raise ValueError(f"{folder}: heads, target, timesteps, grid and quantizer are those of the folder; leave them out")
    spec = Spec.from_json(read_json(folder / "config.json"), str(folder / "config.json"))
    module = load_part(folder, Tokenizer if kind == "tokenizer" else Prior, None)
    return Converted(spec, module.state_dict())


def _of_grid(part: Converted, grid: tuple[int, int]) -> Converted:
    """The tokenizer for images of another size, given by its grid; attention stays at its levels. ValueError where it has one size."""
    if part.spec.grid == tuple(grid):
        return part
    if not hasattr(part.spec, "attention_sizes"):
        raise ValueError(f"grid: the tokenizer has {part.spec.grid} places, which its adapters are made for, and the prior {tuple(grid)}")
    size = grid[0] * part.spec.factor, grid[1] * part.spec.factor
    sizes = tuple(side * min(size) // min(part.spec.image_size) for side in part.spec.attention_sizes)
    return replace(part, spec=replace(part.spec, image_size=size, attention_sizes=sizes))


def _set(sampler: SamplerSpec, settings: dict[str, Any]) -> SamplerSpec:
    """The sampler with some settings replaced; ValueError for one that it does not have."""
    known = {field.name for field in fields(sampler)}
    if settings.keys() - known:
        unknown = ", ".join(sorted(settings.keys() - known))
        raise ValueError(f"{unknown}: a pipeline with this prior is drawn by {type(sampler).__name__}; it has {', '.join(sorted(known))}")
    return replace(sampler, **settings)


def published_sampler(prior: PriorSpec) -> SamplerSpec:
    """The sampler settings that the authors report for a prior of this kind and width; for other widths, those of BiGR-L."""
    if isinstance(prior, LlamaGenSpec | FARSpec):
        return LlamaGenSamplerSpec(guidance_scale=2.0)  # they report 1.65 to 2 for class-conditional models from B to 3B
    if isinstance(prior, MaskGITSpec):
        return MaskGITSamplerSpec()
    rounds, temperature = PUBLISHED_SAMPLERS.get(prior.width, PUBLISHED_SAMPLERS[1024])
    return EntropyOrderedSpec(steps=rounds, temperature=temperature)
