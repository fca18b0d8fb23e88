"""The authors' checkpoints (BiGR, arXiv 2410.14672) as parts of this house: sizes are read off the tensors, names are mapped.

Only what tensors cannot tell is asked for: the image side, and the number of heads (published: width / 64).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from bitmosaic.folders import check_tensors
from bitmosaic.nets import conv
from bitmosaic.priors.conditions import ClassConditionSpec
from bitmosaic.priors.heads import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPrior, MaskedPriorSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoder, BinaryAutoencoderSpec


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published `.th` or `.pt` file, memory-mapped, nothing executed. Raises ValueError naming the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__}: {str(error).splitlines()[0]})") from error
    state = state.get("ema", state.get("model", state)) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: want a dictionary of tensors, or one under 'ema'")
    return state


_RESIDUAL = {"norm1": "norm1", "norm2": "norm2", "conv1": "conv1", "conv2": "conv2", "conv_out": "skip"}
_ATTENTION = {"norm": "norm", "q": "q", "k": "k", "v": "v", "proj_out": "out"}


def published_tokenizer(state: dict[str, Tensor], image_size: int | None = None) -> BinaryAutoencoder:
    """The B-AE of `ae.*`; `image_size` None: the side 16 places have (published: 256, and 512 for d32-512 which must be named)."""
    ae = {k.removeprefix("ae."): v for k, v in state.items() if k.startswith("ae.")}
    try:
        spec = _tokenizer_spec(ae, image_size)
    except KeyError as error:
        raise ValueError(f"not a published tokenizer: tensor ae.{error.args[0]} is missing") from error
    tokenizer = spec.build()
    ours: dict[str, Tensor] = {}
    used = set()
    for theirs, parts in (("encoder", tokenizer.encoder), ("generator", tokenizer.decoder)):
        mine = "encoder" if theirs == "encoder" else "decoder"
        for i, part in enumerate(parts):
            for a, b in _names(part).items():
                for kind in ("weight", "bias"):
                    source = f"{theirs}.blocks.{i}.{a}{kind}"
                    if source in ae:
                        used.add(source)
                        unused = b == "skip." and isinstance(part.skip, nn.Identity)
                        if not unused:
                            ours[f"{mine}.{i}.{b}{kind}"] = ae[source]
    for a, b in (("quantize.proj.0.weight", "to_bits.weight"), ("quantize.proj.0.bias", "to_bits.bias")):
        ours[b] = ae[a]
    ours["from_bits.weight"] = ae["quantize.embed.weight"].t()[:, :, None, None]
    used |= {"quantize.proj.0.weight", "quantize.proj.0.bias", "quantize.embed.weight"}
    extra = sorted(k for k in ae.keys() - used if not k.startswith("generator.logsigma."))
    return _fill(tokenizer, ours, extra)


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
    width, channels = ae["encoder.blocks.0.weight"].shape[:2]
    bits, embedding = ae["quantize.embed.weight"].shape
    count = 1 + max(int(re.match(r"encoder\.blocks\.(\d+)\.", k)[1]) for k in ae if k.startswith("encoder.blocks."))
    levels: list[list[str]] = [[]]
    multipliers = []
    for i in range(1, count - 5):  # the last five are Res, Attention, Res, norm, convolution
        name = f"encoder.blocks.{i}."
        if f"{name}conv.weight" in ae:
            levels.append([])
        else:
            levels[-1].append("attention" if f"{name}q.weight" in ae else "residual")
            if levels[-1][-1] == "residual":
                level_width = ae[f"{name}conv2.weight"].shape[0]
                multipliers = multipliers[: len(levels) - 1] + [level_width // width]
    side = image_size or 16 * 2 ** (len(levels) - 1)
    attention = tuple(side // 2**i for i, parts in enumerate(levels) if "attention" in parts)
    norm_first = ae["generator.blocks.0.weight"].ndim == 1
    blocks = levels[0].count("residual")
    return BinaryAutoencoderSpec(
        (side, side), channels, bits, width, tuple(multipliers), blocks, attention, embedding, norm_first
    )  # fmt: skip


def published_prior(state: dict[str, Tensor], heads: int | None = None, target: str = "flips") -> MaskedPrior:
    """The generator; `heads` None: width / 64 as published. Copies under `diffusion_processor.` are left out."""
    state = {k: v for k, v in state.items() if not k.startswith("diffusion_processor.")}
    try:
        width, bits = state["tok_embeddings.weight"].shape
        places = state["diffusion_pos_embed_learned"].shape[1]
        side = round(places**0.5)
        depth = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
        blocks = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("denoise_mlp.blocks."))
        head = BernoulliDiffusionSpec(state["denoise_mlp.x_embedder.weight"].shape[0], blocks, 256, target)
        classes = ClassConditionSpec(state["cls_embedding.embedding_table.weight"].shape[0] - 1)
    except (KeyError, ValueError) as error:
        raise ValueError(f"not a published generator: tensor {error} is missing") from error
    if side * side != places:
        raise ValueError(f"diffusion_pos_embed_learned: {places} places are not a square grid")
    spec = MaskedPriorSpec((side, side), bits, depth, heads or width // 64, width, classes, head)
    ours, extra = {}, []
    for name, tensor in state.items():
        mine = _prior_name(name)
        if mine is None:
            extra.append(name)
        else:
            ours[mine] = tensor.reshape(tensor.shape[2:] if name.endswith("ada_gss") else tensor.shape)
    ours["hidden"] = ours["hidden"].squeeze(0)
    ours["positions"] = ours["positions"].squeeze(0)
    return _fill(spec.build(), ours, extra)


_PRIOR_NAMES = [
    (r"mask_tok", "hidden"),
    (r"diffusion_pos_embed_learned", "positions"),
    (r"cls_embedding\.embedding_table\.weight", "condition.table.weight"),
    (r"tok_embeddings\.(.*)", r"from_bits.\1"),
    (r"adaLN\.1\.(.*)", r"modulation.\1"),
    (r"norm\.weight", "norm.weight"),
    (r"layers\.(\d+)\.ada_gss", r"blocks.\1.offset"),
    (r"layers\.(\d+)\.attention\.wqkv\.weight", r"blocks.\1.attention.qkv.weight"),
    (r"layers\.(\d+)\.attention\.wo\.weight", r"blocks.\1.attention.out.weight"),
    (r"layers\.(\d+)\.attention_norm\.weight", r"blocks.\1.attention_norm.weight"),
    (r"layers\.(\d+)\.ffn_norm\.weight", r"blocks.\1.feed_forward_norm.weight"),
    (r"layers\.(\d+)\.feed_forward\.(w[123])\.weight", r"blocks.\1.feed_forward.\2.weight"),
    (r"denoise_mlp\.t_embedder\.mlp\.0\.(.*)", r"head.net.time1.\1"),
    (r"denoise_mlp\.t_embedder\.mlp\.2\.(.*)", r"head.net.time2.\1"),
    (r"denoise_mlp\.x_embedder\.(.*)", r"head.net.from_bits.\1"),
    (r"denoise_mlp\.c_embedder\.(.*)", r"head.net.from_condition.\1"),
    (r"denoise_mlp\.blocks\.(\d+)\.mlp\.0\.(.*)", r"head.net.blocks.\1.inner.\2"),
    (r"denoise_mlp\.blocks\.(\d+)\.mlp\.2\.(.*)", r"head.net.blocks.\1.outer.\2"),
    (r"denoise_mlp\.blocks\.(\d+)\.adaLN_modulation\.1\.(.*)", r"head.net.blocks.\1.modulation.\2"),
    (r"denoise_mlp\.final_layer\.linear\.(.*)", r"head.net.out.\1"),
    (r"denoise_mlp\.final_layer\.adaLN_modulation\.1\.(.*)", r"head.net.modulation.\1"),
]


def _prior_name(name: str) -> str | None:
    for pattern, mine in _PRIOR_NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(mine)
    return None


def _fill(part, ours: dict[str, Tensor], extra: list[str]):
    """`part` with `ours` as its weights, or a ValueError with the names at fault."""
    wanted = part.state_dict()
    found = {k: tuple(v.shape) for k, v in ours.items()} | dict.fromkeys(extra, ())
    check_tensors(f"a {type(part).__name__}", {k: tuple(v.shape) for k, v in wanted.items()}, found)
    part.load_state_dict(ours)
    return part.eval()
