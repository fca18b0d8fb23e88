"""The authors' checkpoints (BiGR, arXiv 2410.14672) as a pipeline of this house: sizes are read off the tensors, names are mapped.

Only what tensors cannot tell is asked for: the number of heads (published: width / 64), the head's target, the sampler's settings.
Weights are never copied: from the memory-mapped checkpoint they go to disk as they are.
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitmosaic.folders import check_tensors, save_tensors, write_json, written_beside
from bitmosaic.nets import conv
from bitmosaic.pipeline import check_class_names, check_replaceable, pipeline_config
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.conditions import ClassConditionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

OTHER_NETWORKS = ("disc.", "perceptual.")  # beside ae. in a tokenizer's file, for training alone
COPIES = "diffusion_processor."  # in a generator's file: the head once more
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PUBLISHED_SAMPLERS = {  # width of the prior -> rounds and Gumbel temperature (table 8 of the paper: L, XL, XXL)
    1024: (20, 0.17), 1280: (25, 0.25), 1536: (25, 0.30),
}  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """One part read from a checkpoint: its description, and its weights under our names, still memory-mapped."""

    spec: Spec
    tensors: dict[str, Tensor]
    published: dict[str, str] = field(default_factory=dict)  # our name -> the published one

    def check_values(self, path: str | Path) -> None:
        """ValueError that names tensors of the file `path` with values that are not finite."""
        wrong = [self.published.get(k, k) for k, v in self.tensors.items() if not bool(v.isfinite().all())]
        if wrong:
            raise ValueError(f"{path}: not finite: {', '.join(wrong[:8])}{' and more' if len(wrong) > 8 else ''}")

    def build(self) -> nn.Module:
        """The part with these very tensors as its weights."""
        with torch.device("meta"):
            part = self.spec.build()
        part.load_state_dict(self.tensors, assign=True)
        return part.eval()


def convert(
    tokenizer: str | Path, prior: str | Path, out: str | Path, *, heads: int | None = None, target: Literal["flips", "x_0"] = "flips",
    timesteps: int = 256, settings: dict[str, Any] | None = None, class_names: Sequence[str] = (), dtype: torch.dtype | None = None,
) -> Path:  # fmt: skip
    """Writes the pipeline of two published files, `tokenizer` (.th) and `prior` (.pt), into the folder `out`, which it returns.

    heads: of the prior; None: width / 64 where the width is a published one, else it must be named. target: what the head's logits are
    of; published are flips. timesteps: T of the head's diffusion; published are 256. settings: fields of the pipeline's sampler that shall
    differ from the published setting of a prior of that width. dtype: of the weights on disk; None: as they come, bit for bit, in which
    case files are memory-mapped and never loaded whole. The image side is that of the prior's grid.

    Raises ValueError that names the file and the tensors at fault; `out` is then as it was.
    """
    out = Path(out).expanduser()
    check_replaceable(out)
    for path in (tokenizer, prior):
        if out.resolve() in Path(path).expanduser().resolve().parents:
            raise ValueError(f"out: {out} holds {path}, which would be lost; give another folder")
    state = read_checkpoint(prior)
    if any(k.startswith("ae.") for k in state):
        raise ValueError(f"{prior}: this is a tokenizer; the prior's file comes second")
    codes = _named(prior, published_prior, state, heads, target, timesteps)
    state = read_checkpoint(tokenizer)
    if "tok_embeddings.weight" in state:
        raise ValueError(f"{tokenizer}: this is a prior; the tokenizer's file comes first")
    images = _named(tokenizer, published_tokenizer, state)
    side = codes.spec.grid[0] * images.spec.factor  # tensors of a tokenizer fit any side
    if images.spec.image_size != (side, side):
        images = _named(tokenizer, published_tokenizer, state, side)
    if images.spec.bits != codes.spec.bits:
        raise ValueError(f"{tokenizer} makes {images.spec.bits} bits a place, {prior} wants {codes.spec.bits}; they are no pair")
    classes = codes.spec.condition.classes
    check_class_names(class_names, classes)
    sampler = replace(published_sampler(codes.spec.width), **(settings or {}))
    config = pipeline_config(class_names or [str(i) for i in range(classes)], sampler)
    for path, part in ((tokenizer, images), (prior, codes)):
        part.check_values(path)
    with written_beside(out) as folder:
        for name, part in (("tokenizer", images), ("prior", codes)):
            save_tensors(part.tensors, part.spec, folder / name, dtype)
        write_json(folder / "config.json", config)
    return out


def published_sampler(width: int) -> EntropyOrderedSpec:
    """The setting that the authors report with a prior of that width; L's for a width they did not publish."""
    rounds, temperature = PUBLISHED_SAMPLERS.get(width, PUBLISHED_SAMPLERS[1024])
    return EntropyOrderedSpec(steps=rounds, temperature=temperature)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published `.th` or `.pt` file, memory-mapped, nothing executed. Raises ValueError naming the file."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give a published checkpoint, .th or .pt")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a checkpoint of torch, or not whole (torch.save writes zip archives, and this is none)")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("compressed, which torch.save never does; it could unpack to more than there is memory")
        with torch.serialization.safe_globals([argparse.Namespace]):  # settings that some checkpoints carry; they are not used
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds more than tensors, which is not read since it could run code; give a published file") from error
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path}: not a readable checkpoint, or not whole ({type(error).__name__}: {first})") from error
    if isinstance(state, dict):
        state = next((state[name] for name in ("ema", "model", "state_dict") if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError(f"{path}: want a dictionary of tensors, or one under 'ema'")
    wide = [k for k, v in state.items() if v.layout is torch.strided and v.nbytes > v.untyped_storage().nbytes()]
    if wide:
        raise ValueError(f"{path}: tensors of more numbers than the file holds: {', '.join(wide[:8])}")
    return state


def _check_kind(state: dict[str, Tensor]) -> None:
    """ValueError that names tensors that are not dense and of floating-point numbers."""
    wrong = [k for k, v in state.items() if v.layout is not torch.strided or v.dtype not in FLOATS]
    if wrong:
        kinds = sorted({str(state[k].dtype if state[k].layout is torch.strided else state[k].layout) for k in wrong})
        raise ValueError(f"want dense floating-point tensors, got {', '.join(kinds)}: {', '.join(wrong[:8])}")


def _shape(state: dict[str, Tensor], name: str, axes: int) -> torch.Size:
    """The shape of a tensor with that many axes; KeyError where it is missing, ValueError where it has others."""
    if state[name].ndim != axes:
        raise ValueError(f"{name}: got shape {tuple(state[name].shape)}; want {axes} axes")
    return state[name].shape


def _named(path, read, *arguments) -> Converted:
    """`read(*arguments)`, with the file's name before what it objects to."""
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


_RESIDUAL = {"norm1": "norm1", "norm2": "norm2", "conv1": "conv1", "conv2": "conv2", "conv_out": "skip"}
_ATTENTION = {"norm": "norm", "q": "q", "k": "k", "v": "v", "proj_out": "out"}


def published_tokenizer(state: dict[str, Tensor], image_size: int | None = None) -> Converted:
    """The B-AE of `ae.*`; `image_size` None: the side that 16 x 16 places have. Raises ValueError with the names of tensors at fault."""
    foreign = [k for k in state if not k.startswith(("ae.", *OTHER_NETWORKS))]
    ae = {k.removeprefix("ae."): v for k, v in state.items() if k.startswith("ae.")}
    if not ae:
        raise ValueError(f"not a published tokenizer: no tensor ae.*, but {', '.join(sorted(state)[:4])}")
    _check_kind(ae)
    try:
        spec = _tokenizer_spec(ae, image_size)
        with torch.device("meta"):
            tokenizer = spec.build()
    except (KeyError, IndexError, TypeError, ZeroDivisionError, ValueError) as error:
        what = f"tensor ae.{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published tokenizer: {what}") from error
    names = {f"quantize.proj.0.{kind}": f"to_bits.{kind}" for kind in ("weight", "bias")}
    names["quantize.embed.weight"] = "from_bits.weight"
    unused = set()
    for theirs, mine, parts in (("encoder", "encoder", tokenizer.encoder), ("generator", "decoder", tokenizer.decoder)):
        for i, part in enumerate(parts):
            for a, b in _names(part).items():
                for kind in ("weight", "bias"):
                    if b == "skip." and isinstance(part.skip, nn.Identity):
                        unused.add(f"{theirs}.blocks.{i}.{a}{kind}")  # does nothing where widths agree
                    else:
                        names[f"{theirs}.blocks.{i}.{a}{kind}"] = f"{mine}.{i}.{b}{kind}"
    ours = {names[k]: v for k, v in ae.items() if k in names}
    ours["from_bits.weight"] = ae["quantize.embed.weight"].t()[:, :, None, None]
    theirs_of = {mine: f"ae.{theirs}" for theirs, mine in names.items()}
    extra = [f"ae.{k}" for k in ae if k not in names and k not in unused and not k.startswith("generator.logsigma.")]
    return _checked(spec, tokenizer, ours, theirs_of, extra + foreign)


def _names(part: nn.Module) -> dict[str, str]:
    """Published name prefix -> ours, inside one block."""
    if isinstance(part, conv.ResidualBlock):
        return {f"{a}.": f"{b}." for a, b in _RESIDUAL.items()}
    if isinstance(part, conv.Attention2d):
        return {f"{a}.": f"{b}." for a, b in _ATTENTION.items()}
    if isinstance(part, conv.Downsample | conv.Upsample):
        return {"conv.": "conv."}
    return {"": ""}


def _tokenizer_spec(ae: dict[str, Tensor], image_size: int | None) -> BinaryAutoencoderSpec:
    """Sizes read off the encoder: widths, blocks between downsamples, and at which level there is attention."""
    width, channels = _shape(ae, "encoder.blocks.0.weight", 4)[:2]
    bits, embedding = _shape(ae, "quantize.embed.weight", 2)
    count = 1 + _highest(ae, r"encoder\.blocks\.(\d+)\.")
    levels: list[list[str]] = [[]]
    multipliers = []
    for i in range(1, count - 5):  # the last five are Res, Attention, Res, norm, convolution
        name = f"encoder.blocks.{i}."
        if f"{name}conv.weight" in ae:
            levels.append([])
        else:
            levels[-1].append("attention" if f"{name}q.weight" in ae else "residual")
            if levels[-1][-1] == "residual":
                level_width = _shape(ae, f"{name}conv2.weight", 4)[0]
                multipliers = multipliers[: len(levels) - 1] + [level_width // width]
    side = image_size or 16 * 2 ** (len(levels) - 1)
    attention = tuple(side // 2**i for i, parts in enumerate(levels) if "attention" in parts)
    norm_first = ae["generator.blocks.0.weight"].ndim == 1
    blocks = levels[0].count("residual")
    return BinaryAutoencoderSpec(
        (side, side), channels, bits, width, tuple(multipliers), blocks, attention, embedding, norm_first
    )  # fmt: skip


def published_prior(
    state: dict[str, Tensor], heads: int | None = None, target: Literal["flips", "x_0"] = "flips", timesteps: int = 256
) -> Converted:
    """The generator; `heads` None: width / 64 as published. Raises ValueError with the names of tensors at fault."""
    state = {k: v for k, v in state.items() if not k.startswith(COPIES)}
    _check_kind(state)
    try:
        width, bits = _shape(state, "tok_embeddings.weight", 2)
        places = _shape(state, "diffusion_pos_embed_learned", 3)[1]
        if heads is None and width not in PUBLISHED_SAMPLERS:
            known = ", ".join(map(str, PUBLISHED_SAMPLERS))
            raise ValueError(f"heads: tensors do not tell their number; it is width / 64 at {known}, but this width is {width}: name it")
        side = math.isqrt(places)
        if side * side != places:
            raise ValueError(f"diffusion_pos_embed_learned: {places} places are not a square grid")
        depth, blocks = 1 + _highest(state, r"layers\.(\d+)\."), 1 + _highest(state, r"denoise_mlp\.blocks\.(\d+)\.")
        head = BernoulliDiffusionSpec(_shape(state, "denoise_mlp.x_embedder.weight", 2)[0], blocks, timesteps, target)
        classes = ClassConditionSpec(_shape(state, "cls_embedding.embedding_table.weight", 2)[0] - 1)
        spec = MaskedPriorSpec((side, side), bits, depth, heads if heads is not None else width // 64, width, classes, head)
        with torch.device("meta"):
            prior = spec.build()
    except (KeyError, IndexError, ValueError) as error:
        what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published prior: {what}") from error
    names = _prior_names(depth, blocks)
    ours = {mine: state[theirs] for theirs, mine in names.items() if theirs in state}
    for name, leading in [("hidden", 1), ("positions", 1), *((k, 2) for k in ours if k.endswith(".offset"))]:
        if name in ours and ours[name].shape[:leading] == (1,) * leading:
            ours[name] = ours[name][(0,) * leading]
    return _checked(spec, prior, ours, {mine: theirs for theirs, mine in names.items()}, [k for k in state if k not in names])


def _highest(state: dict[str, Tensor], pattern: str) -> int:
    """The highest number in names that begin with `pattern`; KeyError where there is none."""
    found = {match[1] for match in (re.match(pattern, name) for name in state) if match}
    name = pattern.replace("\\", "").replace("(d+)", "{}")
    gap = next(i for i in range(len(found) + 1) if str(i) not in found)
    if gap == 0:
        raise KeyError(name.format(0))
    if gap < len(found):  # before anything is built: an index may be huge
        other = min(found - {str(i) for i in range(gap)}, key=len)[:12]
        raise ValueError(f"{name.format(gap)} is missing, although there is {name.format(other)}")
    return gap - 1


def _prior_names(depth: int, blocks: int) -> dict[str, str]:
    """Published name -> ours, of a prior with `depth` blocks and a head with `blocks`."""
    names = {
        "mask_tok": "hidden", "diffusion_pos_embed_learned": "positions", "norm.weight": "norm.weight",
        "cls_embedding.embedding_table.weight": "condition.table.weight",
    }  # fmt: skip
    for i in range(depth):
        theirs, ours = f"layers.{i}.", f"blocks.{i}."
        names[f"{theirs}ada_gss"] = f"{ours}offset"
        names[f"{theirs}attention.wqkv.weight"] = f"{ours}attention.qkv.weight"
        names[f"{theirs}attention.wo.weight"] = f"{ours}attention.out.weight"
        names[f"{theirs}attention_norm.weight"] = f"{ours}attention_norm.weight"
        names[f"{theirs}ffn_norm.weight"] = f"{ours}feed_forward_norm.weight"
        names.update({f"{theirs}feed_forward.{w}.weight": f"{ours}feed_forward.{w}.weight" for w in ("w1", "w2", "w3")})
    linear = {"tok_embeddings": "from_bits", "adaLN.1": "modulation"}
    head = {"t_embedder.mlp.0": "time1", "t_embedder.mlp.2": "time2", "x_embedder": "from_bits", "c_embedder": "from_condition"}
    head |= {"final_layer.linear": "out", "final_layer.adaLN_modulation.1": "modulation"}
    for i in range(blocks):
        inside = {"mlp.0": "inner", "mlp.2": "outer", "adaLN_modulation.1": "modulation"}
        head |= {f"blocks.{i}.{theirs}": f"blocks.{i}.{ours}" for theirs, ours in inside.items()}
    linear |= {f"denoise_mlp.{theirs}": f"head.net.{ours}" for theirs, ours in head.items()}
    return names | {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in linear.items() for kind in ("weight", "bias")}


def _checked(spec: Spec, part: nn.Module, ours: dict[str, Tensor], theirs_of: dict[str, str], extra: list[str]) -> Converted:
    """`ours` as the weights of `spec`, or a ValueError with the published names of what is missing, extra or misshapen."""
    wanted = {k: tuple(v.shape) for k, v in part.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in ours.items()}

    def named(shapes):
        return {theirs_of.get(k, k): shape for k, shape in shapes.items()}

    kind = "prior" if isinstance(spec, MaskedPriorSpec) else "tokenizer"
    check_tensors(f"not a published {kind}", named(wanted), {**named(found), **dict.fromkeys(extra, ())})
    return Converted(spec, ours, theirs_of)
