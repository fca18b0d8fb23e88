"""Published priors over codebook indices: LlamaGen's class-conditional Llama (arXiv 2406.06525), TiTok's MaskGIT (arXiv 2406.07550), and
FAR over the indices of several codebooks (FQGAN, arXiv 2411.16681)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.far import FARSpec
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.priors.maskgit import MaskGITSpec

HEAD_WIDTH = 64  # of attention in every published LlamaGen
_LLAMA = {
    "attention.wqkv": "attention.qkv", "attention.wo": "attention.out", "attention_norm": "attention_norm", "ffn_norm": "feed_forward_norm",
    "feed_forward.w1": "feed_forward.w1", "feed_forward.w2": "feed_forward.w2", "feed_forward.w3": "feed_forward.w3",
}  # fmt: skip
_VIT = {
    "norm1": "attention_norm", "norm2": "feed_forward_norm", "attn.qkv": "qkv", "attn.proj": "out", "mlp.fc1": "feed_forward.0",
    "mlp.fc2": "feed_forward.2", "skip_linear": "skip",
}  # fmt: skip


def is_llamagen(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of LlamaGen's layout."""
    return "output.weight" in state and any(name.endswith("attention.wqkv.weight") for name in state)


def is_far(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of FAR."""
    return "tok_embeddings_1.weight" in state


def is_maskgit(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of TiTok's generator."""
    return "lm_head.weight" in state and any(name.startswith("in_blocks.") for name in state)


def published_llamagen(state: dict[str, Tensor], grid: tuple[int, int], heads: int | None = None) -> Converted:
    """The prior of a published file. grid: rows and columns of places, which no tensor shows. heads: None: width / 64.

    ValueError names tensors at fault.
    """
    own = {name: tensor for name, tensor in state.items() if name not in ("freqs_cis", "causal_mask")}  # computed tables
    check_kind(own)
    try:
        codewords, width = shape(own, "tok_embeddings.weight", 2)
        depth, inner = 1 + highest(own, r"layers\.(\d+)\."), shape(own, "layers.0.feed_forward.w1.weight", 2)[0]
        classes = shape(own, "cls_embedding.embedding_table.weight", 2)[0] - 1
        heads = heads or max(1, width // HEAD_WIDTH)
        spec = LlamaGenSpec(grid, codewords, depth, heads, width, ClassConditionSpec(classes), _multiple(width, inner))
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, ValueError) as error:
        raise _not("LlamaGen", error) from error
    names = {"tok_embeddings": "table", "cls_embedding.embedding_table": "condition.table", "norm": "norm", "output": "head.net"}
    names |= {f"layers.{i}.{a}": f"blocks.{i}.{b}" for i in range(depth) for a, b in _LLAMA.items()}
    return _renamed(spec, part, own, {f"{a}.weight": f"{b}.weight" for a, b in names.items()})


def published_far(state: dict[str, Tensor], grid: tuple[int, int], heads: int | None = None) -> Converted:
    """The prior of a published file; arguments and errors as of `published_llamagen`."""
    own = {name: tensor for name, tensor in state.items() if name not in ("freqs_cis", "causal_mask")}  # computed tables
    check_kind(own)
    try:
        digits = shape(own, "aggregation_layer.weight", 2)[1] // shape(own, "aggregation_layer.weight", 2)[0]
        radix = tuple(shape(own, f"tok_embeddings_{j + 1}.weight", 2)[0] for j in range(digits))
        width, inner = shape(own, "tok_embeddings_1.weight", 2)[1], shape(own, "layers.0.feed_forward.w1.weight", 2)[0]
        depth, head_depth = 1 + highest(own, r"layers\.(\d+)\."), 1 + highest(own, r"ar_head\.(\d+)\.")
        condition = ClassConditionSpec(shape(own, "cls_embedding.embedding_table.weight", 2)[0] - 1)
        heads = heads or max(1, width // HEAD_WIDTH)
        spec = FARSpec(grid, radix, depth, heads, width, head_depth, condition, _multiple(width, inner))
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise _not("FAR", error) from error
    names = {"cls_embedding.embedding_table": "condition.table", "norm": "head.norm", "aggregation_layer": "joined"}
    for theirs, ours, count in (("layers", "blocks", depth), ("ar_head", "head.blocks", head_depth)):
        names |= {f"{theirs}.{i}.{a}": f"{ours}.{i}.{b}" for i in range(count) for a, b in _LLAMA.items()}
    for j in range(digits):
        names |= {f"tok_embeddings_{j + 1}": f"head.tables.{j}", f"output_{j + 1}": f"head.outs.{j}"}
    every = {f"{a}.weight": f"{b}.weight" for a, b in names.items()} | {"aggregation_layer.bias": "joined.bias"}
    return _renamed(spec, part, own, every)


def published_maskgit(state: dict[str, Tensor], grid: tuple[int, int] | None = None, heads: int | None = None) -> Converted:
    """The prior of a published file. grid: rows and columns; None: one row, as TiTok's. heads: None: width / 64. ValueError names tensors
    at fault.
    """
    check_kind(state)
    try:
        codewords, width = shape(state, "lm_head.weight", 2)
        places, half = shape(state, "pos_embed", 3)[1] - 1, 1 + highest(state, r"in_blocks\.(\d+)\.")
        classes = shape(state, "embeddings.weight", 2)[0] - codewords - 2  # the same table holds the mask and the null class
        grid = grid or (1, places)
        if math.prod(grid) != places:
            raise ValueError(f"pos_embed: {places} places, and a grid of {grid} has {math.prod(grid)}")
        inner = shape(state, "mid_block.mlp.fc1.weight", 2)[0]
        spec = MaskGITSpec(grid, codewords, 2 * half + 1, heads or max(1, width // HEAD_WIDTH), width, ClassConditionSpec(classes), inner)
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, ValueError) as error:
        raise _not("MaskGIT", error) from error
    own = {name: tensor for name, tensor in state.items() if name not in ("embeddings.weight", "pos_embed")}
    table = state["embeddings.weight"]
    own |= {"embeddings.weight, codewords": table[:codewords], "embeddings.weight, the mask": table[codewords]}
    own |= {"embeddings.weight, classes": table[codewords + 1 :], "pos_embed": state["pos_embed"][0]}
    names = {
        "embeddings.weight, codewords": "table.weight", "embeddings.weight, the mask": "hidden",
        "embeddings.weight, classes": "condition.table.weight", "pos_embed": "positions",
    }  # fmt: skip
    for theirs, first in (("in_blocks", 0), ("out_blocks", half + 1)):
        for i in range(half):
            names |= _block(f"{theirs}.{i}", first + i)
    names |= _block("mid_block", half)
    for theirs, ours in (("norm", "norm"), ("lm_head", "head.net")):
        names |= {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}
    wanted = part.state_dict()
    return _renamed(spec, part, own, {theirs: ours for theirs, ours in names.items() if ours in wanted})


def _block(theirs: str, i: int) -> dict[str, str]:
    return {f"{theirs}.{a}.{kind}": f"blocks.{i}.{b}.{kind}" for a, b in _VIT.items() for kind in ("weight", "bias")}


def _renamed(spec: PriorSpec, part, own: dict[str, Tensor], names: dict[str, str]) -> Converted:
    ours = {names[name]: tensor for name, tensor in own.items() if name in names}
    return checked(spec, part, ours, {mine: theirs for theirs, mine in names.items()}, [name for name in own if name not in names])


def _multiple(width: int, inner: int) -> int:
    """The m for which 8/3 of the width, rounded up to a multiple of m, is `inner`: 256 as published, else the largest."""
    least = int(8 * width / 3)
    fits = [m for m in (256, *range(inner, 0, -1)) if -(-least // m) * m == inner]
    if not fits:
        raise ValueError(f"layers.0.feed_forward.w1.weight: {inner} is no width of SwiGLU for {width}")
    return fits[0]


def _not(name: str, error: Exception) -> ValueError:
    what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
    return ValueError(f"not a published {name}: {what}")
