"""BiGR's published generator (arXiv 2410.14672): a masked prior with a Bernoulli-diffusion head."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.convert.checkpoint import same
from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec

WIDTHS = (1024, 1280, 1536)  # of L, XL and XXL, as published, with attention heads 64 wide
HEAD, COPY, SCHEDULE = "denoise_mlp.", "diffusion_processor._denoise_fn.", "diffusion_processor.scheduler."  # COPY: of the head


def published_prior(
    state: dict[str, Tensor], heads: int | None = None, target: Literal["flips", "x_0"] | None = None, timesteps: int | None = None,
    settings: dict[str, Any] | None = None,
) -> Converted:  # fmt: skip
    """The prior of a published file's tensors.

    heads: None: width / 64 where the width is a published one. target, timesteps: of the head; None: as the file says, or flips and 256.
    T is one less than the entries of the file's noise schedule. settings: of the training, where the file holds them. Without adaLN.* and
    layers.*.ada_gss the blocks are not modulated, which is the default of the authors' program.

    ValueError names tensors at fault, also where the two copies of a tensor in the file differ.
    """
    check_kind(state)
    state, entries, other = _looked_through(state)
    said = settings or {}
    try:
        width, bits = shape(state, "tok_embeddings.weight", 2)
        places = shape(state, "diffusion_pos_embed_learned", 3)[1]
        if heads is None and width not in WIDTHS:
            known = ", ".join(map(str, WIDTHS))
            raise ValueError(f"heads: tensors do not show their number; it is width / 64 at {known}, but this width is {width}: give it")
        side = math.isqrt(places)
        if side * side != places:
            raise ValueError(f"diffusion_pos_embed_learned: {places} places are not a square grid")
        if said.get("cls_token_num", 1) != 1:
            raise ValueError(f"its settings say {said['cls_token_num']} class tokens; only one is supported")
        depth, blocks = 1 + highest(state, r"layers\.(\d+)\."), 1 + highest(state, r"denoise_mlp\.blocks\.(\d+)\.")
        head_width = shape(state, "denoise_mlp.x_embedder.weight", 2)[0]
        head = BernoulliDiffusionSpec(head_width, blocks, _timesteps(timesteps, entries, said), _target(target, said))
        classes = ClassConditionSpec(shape(state, "cls_embedding.embedding_table.weight", 2)[0] - 1)
        modulated = any(name.startswith("adaLN.") or name.endswith(".ada_gss") for name in state)
        spec = MaskedPriorSpec(
            (side, side), bits, depth, heads if heads is not None else width // 64, width, classes, head, modulated=modulated
        )  # fmt: skip
        with torch.device("meta"):
            prior = spec.build()
    except (KeyError, IndexError, ValueError) as error:
        what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published prior: {what}") from error
    names = _prior_names(depth, blocks, modulated)
    ours = {mine: state[theirs] for theirs, mine in names.items() if theirs in state}
    for name, leading in [("hidden", 1), ("positions", 1), *((k, 2) for k in ours if k.endswith(".offset"))]:
        if name in ours and ours[name].shape[:leading] == (1,) * leading:
            ours[name] = ours[name][(0,) * leading]
    found = checked(spec, prior, ours, {mine: theirs for theirs, mine in names.items()}, [k for k in state if k not in names])
    if other:
        more = f" and {len(other) - 8} more" if len(other) > 8 else ""
        raise ValueError(f"not a published prior: the two copies of the head in it differ: {', '.join(other[:8])}{more}")
    return found


def _looked_through(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], int | None, list[str]]:
    """The tensors without the head's copy and the noise schedule; the entries of the schedule, T + 1; the names in the copy that differ.

    Tensors that only the copy has are taken from it. ValueError for a schedule that is not linear.
    """
    found = {k: v for k, v in state.items() if not k.startswith((COPY, SCHEDULE))}
    twice = {HEAD + k.removeprefix(COPY): v for k, v in state.items() if k.startswith(COPY)}
    other = [COPY + k.removeprefix(HEAD) for k, v in twice.items() if k in found and not same(v, found[k])]
    schedule = {k.removeprefix(SCHEDULE): v for k, v in state.items() if k.startswith(SCHEDULE)}
    known = {k: v for k, v in schedule.items() if k in ("k_final", "b_final", "beta", "cumbeta")}
    unknown = {SCHEDULE + k: v for k, v in schedule.items() if k not in known}
    return {**twice, **found, **unknown}, _entries(known), other


def _entries(schedule: dict[str, Tensor]) -> int | None:
    """T + 1, the common length of the tensors of a linear noise schedule; None where there are none. ValueError for any other schedule."""
    if not schedule:
        return None
    lengths = {name: tuple(tensor.shape) for name, tensor in schedule.items()}
    entries = max((length[0] for length in lengths.values() if length), default=0)
    if set(lengths.values()) != {(entries,)} or entries < 2:
        told = ", ".join(f"{SCHEDULE}{name} {length}" for name, length in lengths.items())
        raise ValueError(f"not a published prior: want as many timesteps in all of {told}")
    keep = 1 - torch.arange(entries, dtype=torch.float64) / (entries - 1)
    ratio = torch.cat([torch.ones(1, dtype=torch.float64), keep[1:] / keep[:-1]])
    linear = {"k_final": keep, "b_final": (1 - keep) / 2, "beta": ratio, "cumbeta": keep}
    for name, tensor in schedule.items():
        near = max(1e-4, 2 * torch.finfo(tensor.dtype).eps)
        if not tensor.is_meta and not (tensor.double() - linear[name]).abs().max() <= near:  # also refuses NaN
            raise ValueError(f"not a published prior: {SCHEDULE}{name} is not the schedule k_t = 1 - t/T, the only one that is supported")
    return entries


def _timesteps(given: int | None, entries: int | None, settings: dict[str, Any]) -> int:
    """T of the head, from the schedule or the settings of the file, else as given. ValueError where they contradict."""
    file = entries - 1 if entries is not None else settings.get("n_sample_steps")
    if given is not None and type(file) is int and given != file:
        where = f"{SCHEDULE}k_final and the like have {entries} entries" if entries is not None else "its settings hold n_sample_steps"
        raise ValueError(f"timesteps: got {given}, but T is {file} here: {where}; leave it out")
    return given if given is not None else file if type(file) is int else 256


def _target(given: Literal["flips", "x_0"] | None, settings: dict[str, Any]) -> Literal["flips", "x_0"]:
    """What the logits predict, from the settings of the file, else as given. ValueError where they contradict."""
    flips = settings.get("p_flip")
    file = ("flips" if flips else "x_0") if isinstance(flips, bool) else None
    if given is not None and file is not None and given != file:
        raise ValueError(f"target: got {given}, but its settings say {file} (p_flip is {flips}); leave it out")
    return given or file or "flips"


def _prior_names(depth: int, blocks: int, modulated: bool) -> dict[str, str]:
    """Published name -> ours, of a prior with `depth` blocks, modulated by adaLN or not, and a head with `blocks` blocks."""
    names = {
        "mask_tok": "hidden", "diffusion_pos_embed_learned": "positions", "norm.weight": "norm.weight",
        "cls_embedding.embedding_table.weight": "condition.table.weight",
    }  # fmt: skip
    for i in range(depth):
        theirs, ours = f"layers.{i}.", f"blocks.{i}."
        names |= {f"{theirs}ada_gss": f"{ours}offset"} if modulated else {}
        names[f"{theirs}attention.wqkv.weight"] = f"{ours}attention.qkv.weight"
        names[f"{theirs}attention.wo.weight"] = f"{ours}attention.out.weight"
        names[f"{theirs}attention_norm.weight"] = f"{ours}attention_norm.weight"
        names[f"{theirs}ffn_norm.weight"] = f"{ours}feed_forward_norm.weight"
        names.update({f"{theirs}feed_forward.{w}.weight": f"{ours}feed_forward.{w}.weight" for w in ("w1", "w2", "w3")})
    linear = {"tok_embeddings": "from_bits"} | ({"adaLN.1": "modulation"} if modulated else {})
    head = {"t_embedder.mlp.0": "time1", "t_embedder.mlp.2": "time2", "x_embedder": "from_bits", "c_embedder": "from_condition"}
    head |= {"final_layer.linear": "out", "final_layer.adaLN_modulation.1": "modulation"}
    for i in range(blocks):
        inside = {"mlp.0": "inner", "mlp.2": "outer", "adaLN_modulation.1": "modulation"}
        head |= {f"blocks.{i}.{theirs}": f"blocks.{i}.{ours}" for theirs, ours in inside.items()}
    linear |= {f"denoise_mlp.{theirs}": f"head.net.{ours}" for theirs, ours in head.items()}
    return names | {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in linear.items() for kind in ("weight", "bias")}
