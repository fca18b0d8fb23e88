"""The vectors by which images are found: codes, bits of features, or features.

codes      the packed bits of all places; Hamming distance: how many bits of the code differ. Of indices of a codebook, whose own bits mean
           nothing, the signs of the codewords' components against the codebook's medians
bits       the sign of each feature against its median over the first images indexed; Hamming distance
features   features of unit length; squared Euclidean distance, which is 2 - 2 cosine
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitmosaic.codes import Codes
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.spec import Spec

BY = ("codes", "bits", "features")
AT_ONCE = 64  # images


@dataclass(frozen=True)
class VectorSpec(Spec):
    """How images become vectors."""

    by: str = "codes"  # one of BY
    layer: int = -1  # block that features are taken after; -1: the middle one
    parts: int = 2  # along a side of the image, whose features are averaged apart

    def __post_init__(self):
        if self.by not in BY:
            raise ValueError(f"by: got {self.by!r}; want {', '.join(BY)}")
        if self.layer < -1 or self.parts < 1:
            raise ValueError(f"layer {self.layer} must be -1 or a block's number, parts {self.parts} at least 1")

    @property
    def binary(self) -> bool:
        """Whether vectors are bits, eight a byte."""
        return self.by != "features"


def vectors(pipe: TwoStagePipeline, pixels: Tensor, spec: VectorSpec, medians: np.ndarray | None = None) -> np.ndarray:
    """uint8 (n, bytes) or float32 (n, D) of images, uint8 (n, C, H, W). medians (D,): of the features, for `by` "bits"."""
    found = []
    for part in pixels.split(AT_ONCE):
        codes = pipe.encode_pixels(part.float() / 255)
        found.append(code_bits(pipe, codes) if spec.by == "codes" else features(pipe, codes, spec))
    whole = np.concatenate(found)
    if spec.by == "features":
        return whole / np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-12)
    if spec.by == "bits":
        if medians is None or medians.shape != whole.shape[1:]:
            raise ValueError(f"medians: got {None if medians is None else medians.shape}; these images have {whole.shape[1]} features")
        return np.packbits(whole > medians, axis=1)
    return whole


def code_bits(pipe: TwoStagePipeline, codes: Codes) -> np.ndarray:
    """uint8 (n, bytes) of codes."""
    if set(codes.radix) == {2}:
        return codes.pack()
    quantizer = pipe.tokenizer.quantizer
    with torch.no_grad():
        every = torch.cartesian_prod(*(torch.arange(r, device=codes.digits.device) for r in codes.radix)).view(-1, len(codes.radix))
        signs = quantizer.decode(codes.flat()) > quantizer.decode(every).median(0).values  # (n, N, d)
    return np.packbits(signs.flatten(1).cpu().numpy(), axis=1)


def features(pipe: TwoStagePipeline, codes, spec: VectorSpec) -> np.ndarray:
    """float32 (n, D) of codes, as they come."""
    layer = len(pipe.prior.blocks) // 2 if spec.layer == -1 else spec.layer
    with torch.no_grad():
        return pipe.code_features(codes, [layer], [None] * len(codes), spec.parts)[0].flatten(1).cpu().numpy()


def medians_of(pipe: TwoStagePipeline, pixels: Tensor, spec: VectorSpec) -> np.ndarray | None:
    """Of each feature over some images, (D,) float32; None where the spec needs none."""
    if spec.by != "bits":
        return None
    codes = [pipe.encode_pixels(part.float() / 255) for part in pixels.split(AT_ONCE)]
    return np.median(np.concatenate([features(pipe, part, spec) for part in codes]), axis=0)
