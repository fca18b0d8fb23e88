"""The file of what is fitted to a pipeline's codes for compression: frequencies of bits, and the scale of the prior's logits."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bitmosaic.codec.base import ONE
from bitmosaic.codec.container import LARGEST_SCALE
from bitmosaic.codec.static import StaticCoder
from bitmosaic.folders import check_plain, check_tensors

SCALE_IMAGES = 32  # images whose codes the scale is fitted to; twice as many change it by at most one 16th


def save_fitted(path: Path, static: StaticCoder | None, scale: int) -> None:
    """Writes the file, unless there is nothing to write."""
    tensors = {} if scale == ONE else {"scale": torch.tensor([scale], dtype=torch.uint8)}
    if static is not None:
        tensors["levels"] = static.levels
    if tensors:
        save_file(tensors, path)


def load_fitted(path: Path) -> tuple[StaticCoder | None, int]:
    """The static coder and the scale, in 16ths; none and 1 where there is no file. ValueError names what does not fit."""
    if not path.exists():
        return None, ONE
    check_plain(path)
    try:
        with safe_open(path, "pt") as file:
            found = list(file.keys())
            check_tensors(path, dict.fromkeys({"levels", "scale"} & {*found} or ["levels"], ()), dict.fromkeys(found, ()))
            static = StaticCoder(file.get_tensor("levels")) if "levels" in found else None
            scale = file.get_tensor("scale") if "scale" in found else torch.tensor([ONE], dtype=torch.uint8)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error})") from error
    if scale.dtype != torch.uint8 or scale.shape != (1,) or not 1 <= int(scale) <= LARGEST_SCALE:
        raise ValueError(f"{path}: scale: got {scale.dtype} {scale.tolist()}; want one uint8 from 1 to {LARGEST_SCALE}")
    return static, int(scale)
