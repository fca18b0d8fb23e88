"""Published VQGANs and their relatives: the layouts of taming-transformers (arXiv 2012.09841), LlamaGen (2406.06525), Open-MAGVIT2
(2409.04410), which SimVQ (2411.02038) shares, and IBQ (2412.02692), which is taming's with averaged weights beside.

We differ in reading all sizes, and the scheme of the quantizer, off the tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.nets import conv
from bitmosaic.quantizers.base import QuantizerSpec
from bitmosaic.quantizers.cosine import CosineSpec
from bitmosaic.quantizers.index_propagation import IBQSpec
from bitmosaic.quantizers.lookup_free import LFQSpec
from bitmosaic.quantizers.nearest import NearestSpec
from bitmosaic.quantizers.simvq import SimVQSpec
from bitmosaic.tokenizers.vqgan import VQGANSpec

OTHER = ("loss.", "colorize", "quantize.codebook", "quantize.mask", "quantize.zero")  # used in training only, or computed
AVERAGES, COUNTERS = "model_ema.", ("model_ema.decay", "model_ema.num_updates")
SchemeName = Literal["nearest", "cosine", "ibq"]
SCHEMES = {  # losses have their published weights
    "nearest": lambda k, d: NearestSpec(k, d, commitment=1.0, codebook=0.25), "cosine": CosineSpec, "ibq": IBQSpec,
}  # fmt: skip
_OUTSIDE = {"quant_conv": "to_codes", "post_quant_conv": "from_codes"}
_INSIDE = {"skip": "nin_shortcut", "out": "proj_out", "scale": "gamma", "shift": "beta"}  # ours -> theirs; other names inside a block agree


@dataclass(frozen=True)
class Layout:
    """The names that one program gives to the parts of an encoder and a decoder; {i} is the level, 0 at full resolution, {j} a number."""

    residual: str
    attention: str
    change: str  # of resolution
    middle: tuple[str, ...]  # of the parts of the middle; of one entry with {j} the residual blocks are numbered
    adaptive: str = ""
    inner: tuple[str, str] = ("conv.", "conv.")  # what the convolution of a down- and an upsampling is called inside
    from_bottom: bool = False  # levels of the decoder are counted from the lowest resolution on


LAYOUTS = {
    "taming": Layout(
        "{side}.{i}.block.{j}", "{side}.{i}.attn.{j}", "{side}.{i}.{side}sample", ("mid.block_1", "mid.attn_1", "mid.block_2")
    ),
    "llamagen": Layout(
        "conv_blocks.{i}.res.{j}", "conv_blocks.{i}.attn.{j}", "conv_blocks.{i}.{side}sample", ("mid.0", "mid.1", "mid.2"), from_bottom=True
    ),
    "open-magvit2": Layout(
        "{side}.{i}.block.{j}", "{side}.{i}.attn.{j}", "{side}.{i}.{side}sample", ("mid_block.{j}",), "adaptive.{i}", ("", "conv1.")
    ),
}


def is_vqgan(state: dict[str, Tensor]) -> bool:
    """Whether the tensors' names are those of one of these layouts."""
    return any(name in state for name in ("quantize.embedding.weight", "quant_conv.weight", "encoder.conv_in.weight"))


def layout_of(state: dict[str, Tensor]) -> str:
    """The layout's name in `LAYOUTS`."""
    if any(name.startswith("encoder.conv_blocks.") for name in state):
        return "llamagen"
    return "open-magvit2" if any(name.startswith("encoder.mid_block.") for name in state) else "taming"


def published_vqgan(state: dict[str, Tensor], image_size: int | None = None, quantizer: SchemeName | None = None) -> Converted:
    """The VQGAN of a published file, in any of the layouts, with averaged weights where the file has them.

    image_size: side in pixels, None: that of 16 x 16 places. quantizer: which codeword of a codebook a vector has, a name in `SCHEMES`;
    None: as published in this layout. ValueError names the tensors at fault.
    """
    own, averaged = averages({name: tensor for name, tensor in state.items() if not name.startswith(OTHER)})
    check_kind(own)
    try:
        layout = layout_of(own)
        scheme, names = _quantizer(own, layout, averaged, quantizer)
        spec = _spec(own, layout, scheme, image_size)
        with torch.device("meta"):
            part = spec.build()
    except (KeyError, IndexError, TypeError, ZeroDivisionError, ValueError) as error:
        what = f"tensor {error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"not a published VQGAN: {what}") from error
    if spec.embedding is not None:
        names |= {f"{a}.{kind}": f"{b}.{kind}" for a, b in _OUTSIDE.items() for kind in ("weight", "bias")}
    for net, blocks in (("encoder", part.encoder), ("decoder", part.decoder)):
        for i, (theirs, block) in enumerate(zip(places(net, blocks, spec, LAYOUTS[layout]), blocks, strict=True)):
            for name in block.state_dict():
                names[f"{net}.{theirs}{inside(name, block, LAYOUTS[layout])}"] = f"{net}.{i}.{name}"
    ours = {names[name]: tensor for name, tensor in own.items() if name in names}
    return checked(spec, part, ours, {mine: theirs for theirs, mine in names.items()}, [name for name in own if name not in names])


def averages(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """The tensors with their averages (`model_ema.*`, under names without dots) in their places, and whether there are such.

    ValueError where some have averages and others none, or an average belongs to no tensor.
    """
    own = {name: tensor for name, tensor in state.items() if not name.startswith(AVERAGES)}
    means = {n: t for n, t in state.items() if n.startswith(AVERAGES) and n not in COUNTERS and not n.startswith(f"{AVERAGES}loss")}
    if not means:
        return own, False
    of = {AVERAGES + name.replace(".", ""): name for name in own}
    if strange := sorted(means.keys() - of.keys()):
        raise ValueError(f"averages of tensors that are not there: {', '.join(strange[:8])}")
    if bare := sorted(of[name] for name in of.keys() - means.keys()):
        raise ValueError(f"tensors without averages: {', '.join(bare[:8])}")
    return {of[name]: tensor for name, tensor in means.items()}, True


def _quantizer(
    state: dict[str, Tensor], layout: str, averaged: bool, scheme: SchemeName | None
) -> tuple[QuantizerSpec, dict[str, str]]:
    """The quantizer of the tensors `quantize.*`, and the names of its tensors, theirs -> ours. Open-MAGVIT2's has none."""
    if layout == "open-magvit2" and "quantize.embedding.weight" not in state:
        if scheme:
            raise ValueError(f"quantizer: got {scheme}, but there is no codebook quantize.embedding.weight, so it is lookup-free")
        return LFQSpec(shape(state, "encoder.conv_out.weight", 4)[0]), {}
    codewords, dimension = shape(state, "quantize.embedding.weight", 2)
    if "quantize.embedding_proj.weight" in state:
        return SimVQSpec(codewords, dimension), {
            "quantize.embedding.weight": "quantizer.basis",
            **{f"quantize.embedding_proj.{kind}": f"quantizer.projection.{kind}" for kind in ("weight", "bias")},
        }
    own: SchemeName = {"taming": "ibq" if averaged else "nearest", "llamagen": "cosine", "open-magvit2": "ibq"}[layout]
    return SCHEMES[scheme or own](codewords, dimension), {"quantize.embedding.weight": "quantizer.codebook"}


def _spec(state: dict[str, Tensor], layout: str, quantizer: QuantizerSpec, image_size: int | None) -> VQGANSpec:
    """Sizes read off the encoder, and at which levels there is attention."""
    channels, width, multipliers, blocks = sizes(state, LAYOUTS[layout])
    side, levels = image_size or 16 * 2 ** (len(multipliers) - 1), range(len(multipliers))
    attention = tuple(side // 2**i for i in levels if f"{_called(LAYOUTS[layout].attention, i, 0)}.q.weight" in state)
    embedding = shape(state, "encoder.conv_out.weight", 4)[0] if "quant_conv.weight" in state or layout != "open-magvit2" else None
    adaptive = any(name.startswith("decoder.adaptive.") for name in state)
    family = "taming" if layout != "open-magvit2" else "open-magvit2" if adaptive else "simvq"
    return VQGANSpec((side, side), channels, quantizer, width, multipliers, blocks, attention, embedding, family=family)


def sizes(state: dict[str, Tensor], layout: Layout) -> tuple[int, int, tuple[int, ...], int]:
    """Channels of images, width at full resolution, multipliers of levels, and residual blocks of each, of an encoder."""
    width, channels = shape(state, "encoder.conv_in.weight", 4)[:2]
    level, block = _called(layout.residual, "LEVEL", 0).partition("LEVEL")[0], _called(layout.residual, 0, "BLOCK").partition("BLOCK")[0]
    levels, blocks = (1 + highest(state, name.replace(".", r"\.") + r"(\d+)\.") for name in (level, block))
    multipliers = tuple(shape(state, f"{_called(layout.residual, i, 0)}.conv1.weight", 4)[0] // width for i in range(levels))
    return channels, width, multipliers, blocks


def _called(pattern: str, i: int | str, j: int | str) -> str:
    return f"encoder.{pattern.format(side='down', i=i, j=j)}"


def places(net: Literal["encoder", "decoder"], blocks: nn.Sequential, spec: VQGANSpec, layout: Layout) -> Iterator[str]:
    """The published name of each block of the encoder or decoder, in our order."""
    last = len(spec.multipliers) - 1
    side, step = ("down", 1) if net == "encoder" else ("up", -1)
    level = 0 if net == "encoder" else last
    count = 3 if conv.FAMILIES[spec.family].middle_attends else spec.residual_blocks
    middle = range(len(blocks) - 3 - count, len(blocks) - 3) if net == "encoder" else range(1, 1 + count)
    seen = dict.fromkeys((layout.residual, layout.attention), 0)
    for at, block in enumerate(blocks):
        i = last - level if layout.from_bottom and net == "decoder" else level
        if at in middle:
            j = at - middle.start
            yield layout.middle[j] if len(layout.middle) > 1 else layout.middle[0].format(j=j)
        elif isinstance(block, conv.ResidualBlock | conv.Attention2d):
            kind = layout.residual if isinstance(block, conv.ResidualBlock) else layout.attention
            yield kind.format(side=side, i=i, j=seen[kind])
            seen[kind] += 1
        elif isinstance(block, conv.AdaptiveNorm):
            yield layout.adaptive.format(i=i)
        elif at in (0, len(blocks) - 1) or not hasattr(block, "conv"):
            yield "conv_in" if at == 0 else "conv_out" if at == len(blocks) - 1 else "norm_out"  # SiLU between has no tensors
        else:
            yield layout.change.format(side=side, i=i)
            level, seen = level + step, dict.fromkeys(seen, 0)


def inside(name: str, block: nn.Module, layout: Layout) -> str:
    """The published name, with a dot before it, of a tensor inside a block."""
    if isinstance(block, conv.Downsample | conv.StridedDownsample | conv.Upsample | conv.DepthToSpace):
        down = isinstance(block, conv.Downsample | conv.StridedDownsample)
        return "." + layout.inner[0 if down else 1] + name.removeprefix("conv.")
    return "." + ".".join(_INSIDE.get(word, word) for word in name.split("."))
