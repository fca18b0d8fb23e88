"""VQGAN-LC (arXiv 2406.11837): codewords are features of a frozen network behind a trained projector, so that 100,000 of them are used.

We differ in taking any frozen network of ours for CLIP, in features brought to one size, in k-means by Lloyd's steps on our own generator,
and in features that are random until `learn` was given some: then it is the paper's own ablation, and SimVQ's idea.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from bitmosaic.quantizers.base import Quantized, check_weights
from bitmosaic.quantizers.codebook import Codebook, CodebookSpec, check_fits, nearest, straight_through

HIDDEN = 256  # of the MLP projector
FEATURES = 128  # of the last level of the feature network that the recipe `folder` trains


@dataclass(frozen=True)
class FrozenFeaturesSpec(CodebookSpec):
    """K codewords P(T) of width d; T, K features, is frozen, and the projector P is trained."""

    scheme = "features"
    recipe_width = 8

    features: int = 16  # numbers of a feature
    projector: Literal["linear", "mlp"] = "linear"
    commitment: float = 1.0  # weight of mean (sg[e] - z)^2
    codebook: float = 0.33  # weight of mean (e - sg[z])^2

    def __post_init__(self):
        super().__post_init__()
        check_weights(commitment=self.commitment, codebook=self.codebook)
        if self.features < 1 or self.projector not in ("linear", "mlp"):
            raise ValueError(f"features {self.features}, projector {self.projector!r}: want a positive number, and 'linear' or 'mlp'")
        check_fits(self.codewords, self.features)  # features are wider than codewords, and are kept

    @classmethod
    def of_codewords(cls, codewords: int) -> FrozenFeaturesSpec:
        return replace(super().of_codewords(codewords), features=FEATURES)

    def build(self) -> FrozenFeatures:
        return FrozenFeatures(self)


class FrozenFeatures(Codebook):
    """Vectors (..., d) <-> one index (..., 1) below K."""

    def __init__(self, spec: FrozenFeaturesSpec):
        super().__init__(spec)
        self.register_buffer("features", scaled(torch.randn(spec.codewords, spec.features)))
        self.projector = nn.Linear(spec.features, spec.width)
        if spec.projector == "mlp":
            self.projector = nn.Sequential(nn.Linear(spec.features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, spec.width))
        else:
            nn.init.normal_(self.projector.weight, std=spec.width**-0.5)

    @property
    def codebook(self) -> Tensor:
        """All codewords, (K, d)."""
        return self.projector(self.features)

    def learn(self, features: Tensor, classes: Tensor | None = None, rng: torch.Generator | None = None, steps: int = 10) -> None:
        """Takes the centres of `features` (n, features), of each class as many as of the others, for T.

        ValueError for features of another width, or fewer than codewords.
        """
        k = self.spec.codewords
        if features.ndim != 2 or features.shape[1] != self.spec.features:
            own = features.shape[-1]
            raise ValueError(
                f"features: the feature network gives {own} numbers a place, and the quantizer takes {self.spec.features}; "
                f"give --tokenizer.quantizer.features {own}"
            )
        if len(features) < k:
            raise ValueError(f"features: got {len(features):,} for {k:,} codewords; give more images, or take fewer codewords")
        rng = rng or torch.Generator().manual_seed(0)
        groups = [features] if classes is None else [features[classes == c] for c in classes.unique()]
        shares = [k // len(groups) + (i < k % len(groups)) for i in range(len(groups))]
        if any(len(group) < share for group, share in zip(groups, shares, strict=True)):
            groups, shares = [features], [k]  # a class has too few
        found = [kmeans(group.float(), share, rng, steps) for group, share in zip(groups, shares, strict=True) if share]
        self.features.copy_(scaled(torch.cat(found)))

    def decode(self, digits: Tensor) -> Tensor:
        return self.projector(self.features[digits[..., 0].long()])

    def forward(self, z: Tensor, rng: torch.Generator | None = None) -> Quantized:
        return straight_through(z, self.codebook, self.spec.commitment, self.spec.codebook)


def scaled(features: Tensor) -> Tensor:
    """Features (K, d) whose numbers have a root mean square of d^-1/2: larger ones make codewords so long that few are ever nearest."""
    return features / (features.square().mean().sqrt() * features.shape[1] ** 0.5).clamp(min=1e-12)


@torch.no_grad()
def kmeans(rows: Tensor, k: int, rng: torch.Generator, steps: int) -> Tensor:
    """Centres (k, d) of rows (n, d), n >= k, by Lloyd's steps from k of the rows; a centre without rows moves to the row worst served."""
    centres = rows[torch.randperm(len(rows), generator=rng)[:k]].clone()
    for _ in range(steps):
        index = nearest(rows, centres)
        counts = torch.bincount(index, minlength=k)
        sums = torch.zeros_like(centres).index_add_(0, index, rows)
        empty = (counts == 0).nonzero()[:, 0]
        far = (rows - centres[index]).square().sum(1).topk(len(empty)).indices if len(empty) else empty
        centres = sums / counts.clamp(min=1)[:, None]
        centres[empty] = rows[far]
    return centres
