"""BiGR's published tokenizer (arXiv 2410.14672): the binary autoencoder, tensors `ae.*`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitmosaic.convert.part import Converted, check_kind, checked, highest, shape
from bitmosaic.nets import conv
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec

OTHER_NETWORKS = ("disc.", "perceptual.")  # also in a tokenizer's file, used in training only
_RESIDUAL = {"norm1": "norm1", "norm2": "norm2", "conv1": "conv1", "conv2": "conv2", "conv_out": "skip"}
_ATTENTION = {"norm": "norm", "q": "q", "k": "k", "v": "v", "proj_out": "out"}


def published_tokenizer(state: dict[str, Tensor], image_size: int | None = None) -> Converted:
    """The binary autoencoder of tensors `ae.*`; image_size: side in pixels, None: that of 16 x 16 places. ValueError names tensors at
    fault.
    """
    foreign = [k for k in state if not k.startswith(("ae.", *OTHER_NETWORKS))]
    ae = {k.removeprefix("ae."): v for k, v in state.items() if k.startswith("ae.")}
    if not ae:
        raise ValueError(f"not a published tokenizer: no tensor ae.*, but {', '.join(sorted(state)[:4])}")
    check_kind(ae)
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
                        unused.add(f"{theirs}.blocks.{i}.{a}{kind}")  # stored but unused where widths agree
                    else:
                        names[f"{theirs}.blocks.{i}.{a}{kind}"] = f"{mine}.{i}.{b}{kind}"
    ours = {names[k]: v for k, v in ae.items() if k in names}
    ours["from_bits.weight"] = ae["quantize.embed.weight"].t()[:, :, None, None]
    theirs_of = {mine: f"ae.{theirs}" for theirs, mine in names.items()}
    extra = [f"ae.{k}" for k in ae if k not in names and k not in unused and not k.startswith("generator.logsigma.")]
    return checked(spec, tokenizer, ours, theirs_of, extra + foreign)


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
    width, channels = shape(ae, "encoder.blocks.0.weight", 4)[:2]
    bits, embedding = shape(ae, "quantize.embed.weight", 2)
    count = 1 + highest(ae, r"encoder\.blocks\.(\d+)\.")
    levels: list[list[str]] = [[]]
    multipliers = []
    for i in range(1, count - 5):  # the last five are Res, Attention, Res, norm, convolution
        name = f"encoder.blocks.{i}."
        if f"{name}conv.weight" in ae:
            levels.append([])
        else:
            levels[-1].append("attention" if f"{name}q.weight" in ae else "residual")
            if levels[-1][-1] == "residual":
                level_width = shape(ae, f"{name}conv2.weight", 4)[0]
                multipliers = multipliers[: len(levels) - 1] + [level_width // width]
    side = image_size or 16 * 2 ** (len(levels) - 1)
    attention = tuple(side // 2**i for i, parts in enumerate(levels) if "attention" in parts)
    norm_first = ae["generator.blocks.0.weight"].ndim == 1
    blocks = levels[0].count("residual")
    return BinaryAutoencoderSpec(
        (side, side), channels, bits, width, tuple(multipliers), blocks, attention, embedding, norm_first
    )  # fmt: skip
