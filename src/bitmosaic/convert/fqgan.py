"""FQGAN's published tokenizers of two and three codebooks (Bai et al., arXiv 2411.16681): LlamaGen's layout, a branch for each codebook.

Branches are in the order in which the published decoder joins their codewords: visual, semantic; of three visual, middle, high.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.convert.vqgan import LAYOUTS, OTHER, inside, places, sizes
from bitmosaic.quantizers.cosine import CosineSpec
from bitmosaic.quantizers.product import FactorizedSpec
from bitmosaic.tokenizers.fqgan import FQGAN, FQGANSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec

DUAL = {"vis": "encoder.visual_head.0", "sem": "encoder.semantic_head.0"}  # branches, and their adapters
TRIPLE = {
    "vis": "encoder.visual_head.0", "sem_mid": "encoder.semantic_head_mid.0", "sem_high": "encoder.semantic_head_high.0",
}  # fmt: skip
HEADS = 8  # of the adapters' attention in the published files, which no tensor shows
UNUSED = (  # in training only
    "feat_pred_head.", "mid_sem_feat_pred.", "high_sem_feat_pred.", *(f"quantize_{name}.codebook_used" for name in {**DUAL, **TRIPLE}),
)  # fmt: skip
BLOCK = {
    "attention_norm.": "ln_1.", "feed_forward_norm.": "ln_2.", "qkv.": "attn.in_proj_", "out.": "attn.out_proj.",
    "feed_forward.0.": "mlp.c_fc.", "feed_forward.2.": "mlp.c_proj.",
}  # fmt: skip


def is_fqgan(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of this layout."""
    return "quantize_vis.embedding.weight" in state


def branches(state: dict[str, Tensor]) -> dict[str, str]:
    """The branches of a file, and their adapters."""
    return TRIPLE if any(name.startswith("quantize_sem_") for name in state) else DUAL


def published_fqgan(state: dict[str, Tensor], heads: int | None = None) -> Converted:
    """The tokenizer of a published file, for the square images that its adapters were made for. heads: of these; None: 8, as published.

    ValueError names the tensors at fault.
    """
    own = {name: tensor for name, tensor in state.items() if not name.startswith((*OTHER, *UNUSED))}
    check_kind(own)
    try:
        spec = _spec(own, heads or HEADS)
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, TypeError, ZeroDivisionError, ValueError) as error:
        what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published FQGAN: {what}") from error
    names = _names(part, spec, branches(own))
    ours = {names[name]: tensor for name, tensor in own.items() if name in names}
    return checked(spec, part, ours, {mine: theirs for theirs, mine in names.items()}, [name for name in own if name not in names])


def _spec(state: dict[str, Tensor], heads: int) -> FQGANSpec:
    channels, width, multipliers, blocks = sizes(state, LAYOUTS["llamagen"])
    found = branches(state)
    count, deep = shape(state, f"{found['vis']}.positional_embedding", 2)
    rows = round(count**0.5)
    if rows * rows != count:
        raise ValueError(f"{found['vis']}.positional_embedding: {count} places are no square")
    side = rows * 2 ** (len(multipliers) - 1)
    books = tuple(CosineSpec(*shape(state, f"quantize_{name}.embedding.weight", 2), entropy=0.03) for name in found)
    depth = 1 + highest(state, found["vis"].replace(".", r"\.") + r"\.transformer\.(\d+)\.")
    embedding = shape(state, "encoder.conv_out_vis.weight", 4)[0]
    return FQGANSpec((side, side), channels, FactorizedSpec(books), width, multipliers, blocks, embedding, depth, heads)


def _names(part: FQGAN, spec: FQGANSpec, adapters: dict[str, str]) -> dict[str, str]:
    """The published name of each tensor -> ours."""
    lowest = (min(spec.grid),)  # attention
    plain = VQGANSpec(spec.image_size, spec.channels, spec.quantizer, spec.width, spec.multipliers, spec.residual_blocks, lowest)
    with torch.device("meta"):
        whole = plain.build()
    wanted, both = part.state_dict().keys(), ("weight", "bias")
    found = {f"post_quant_conv.{kind}": f"from_codes.{kind}" for kind in both}
    for net, blocks in (("encoder", whole.encoder), ("decoder", whole.decoder)):  # the encoder's last three are each branch's own
        for i, (theirs, block) in enumerate(zip(places(net, blocks, plain, LAYOUTS["llamagen"]), blocks, strict=True)):
            names = {f"{net}.{theirs}{inside(name, block, LAYOUTS['llamagen'])}": f"{net}.{i}.{name}" for name in block.state_dict()}
            found |= {theirs: ours for theirs, ours in names.items() if ours in wanted}
    for i, (name, adapter) in enumerate(adapters.items()):
        own = f"branches.{i}"
        found |= {f"{adapter}.positional_embedding": f"{own}.0.positions"}
        found |= {f"quantize_{name}.embedding.weight": f"quantizer.parts.{i}.codebook"}
        pairs = {f"{adapter}.ln_pre.": "0.norm_in.", f"{adapter}.ln_post.": "0.norm_out.", f"encoder.norm_out_{name}.": "1."}
        pairs |= {f"encoder.conv_out_{name}.": "3.", f"quant_conv_{name}.": "4."}
        for k in range(spec.adapter_depth):
            pairs |= {f"{adapter}.transformer.{k}.{theirs}": f"0.blocks.{k}.{ours}" for ours, theirs in BLOCK.items()}
        found |= {f"{theirs}{kind}": f"{own}.{ours}{kind}" for theirs, ours in pairs.items() for kind in both}
    return found
