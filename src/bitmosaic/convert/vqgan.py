"""The layout of taming-transformers (arXiv 2012.09841): VQGANs of `encoder.*`, `quantize.*` and `decoder.*`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.nets import conv
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec

LOSS = "loss."  # the discriminator and the perceptual network, used in training only
_OUTSIDE = {"quant_conv": "to_codes", "post_quant_conv": "from_codes"}
_INSIDE = {"nin_shortcut": "skip", "proj_out": "out"}  # the other names inside a block agree


def is_vqgan(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of this layout."""
    return "quantize.embedding.weight" in state or "quant_conv.weight" in state


def published_vqgan(state: dict[str, Tensor], image_size: int | None = None) -> Converted:
    """The VQGAN of a published file; image_size: side in pixels, None: that of 16 x 16 places. ValueError names the tensors at fault."""
    own = {name: tensor for name, tensor in state.items() if not name.startswith(LOSS)}
    check_kind(own)
    try:
        spec = _spec(own, image_size)
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, TypeError, ZeroDivisionError, ValueError) as error:
        what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published VQGAN: {what}") from error
    names = {"quantize.embedding.weight": "quantizer.codebook"}
    names |= {f"{a}.{kind}": f"{b}.{kind}" for a, b in _OUTSIDE.items() for kind in ("weight", "bias")}
    for net, blocks in (("encoder", part.encoder), ("decoder", part.decoder)):
        for i, (theirs, block) in enumerate(zip(_places(net, blocks, spec), blocks, strict=True)):
            for name in block.state_dict():
                inside = ".".join(next((a for a, b in _INSIDE.items() if b == word), word) for word in name.split("."))
                names[f"{net}.{theirs}.{inside}"] = f"{net}.{i}.{name}"
    ours = {names[name]: tensor for name, tensor in own.items() if name in names}
    return checked(spec, part, ours, {mine: theirs for theirs, mine in names.items()}, [name for name in own if name not in names])


def _places(net: str, blocks: nn.Sequential, spec: VQGANSpec) -> Iterator[str]:
    """The published name of each block of the encoder or decoder, in our order."""
    last = len(spec.multipliers) - 1
    level, counts = 0 if net == "encoder" else last, {"block": 0, "attn": 0}
    side, change = ("down", "downsample") if net == "encoder" else ("up", "upsample")
    middle = {id(block) for block in _middle(net, blocks)}
    names = iter(("mid.block_1", "mid.attn_1", "mid.block_2"))
    for i, block in enumerate(blocks):
        if id(block) in middle:
            yield next(names)
        elif isinstance(block, conv.ResidualBlock | conv.Attention2d):
            kind = "block" if isinstance(block, conv.ResidualBlock) else "attn"
            yield f"{side}.{level}.{kind}.{counts[kind]}"
            counts[kind] += 1
        elif isinstance(block, conv.Downsample | conv.Upsample):
            yield f"{side}.{level}.{change}"
            level, counts = level + (1 if net == "encoder" else -1), {"block": 0, "attn": 0}
        else:
            yield "conv_in" if i == 0 else "conv_out" if i == len(blocks) - 1 else "norm_out"  # SiLU between has no tensors


def _middle(net: str, blocks: nn.Sequential) -> nn.Sequential:
    return blocks[-6:-3] if net == "encoder" else blocks[1:4]


def _spec(state: dict[str, Tensor], image_size: int | None) -> VQGANSpec:
    """Sizes read off the encoder: widths, blocks of a level, and at which levels there is attention."""
    width, channels = shape(state, "encoder.conv_in.weight", 4)[:2]
    codewords, dimension = shape(state, "quantize.embedding.weight", 2)
    levels = 1 + highest(state, r"encoder\.down\.(\d+)\.")
    blocks = 1 + highest(state, r"encoder\.down\.0\.block\.(\d+)\.")
    multipliers = tuple(shape(state, f"encoder.down.{i}.block.0.conv1.weight", 4)[0] // width for i in range(levels))
    side = image_size or 16 * 2 ** (levels - 1)
    attention = tuple(side // 2**i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in state)
    embedding = shape(state, "encoder.conv_out.weight", 4)[0]
    quantizer = NearestSpec(codewords, dimension, commitment=1.0, codebook=0.25)  # the losses' published weights, beta 0.25
    return VQGANSpec((side, side), channels, quantizer, width, multipliers, blocks, attention, embedding)
