"""Real images of an evaluation: a reference, and others that stand where made images stand, which gives the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitmosaic.images import ImageSet
from bitmosaic.names import composed

NEIGHBOURS = 5  # k of precision, recall, density and coverage
SEEDS = 1_000_000  # distance between the first images of two seeds, so that evaluations share no image


@dataclass(frozen=True)
class RealImages:
    """Real images in two parts without overlap: rows of two sets, or of one and the same."""

    reference: ImageSet
    rows: Tensor  # (m,) of the reference
    beside: ImageSet
    beside_rows: Tensor  # (n,) other real images, as many as are generated


def parted(reference: ImageSet, beside: ImageSet | None, count: int | None) -> RealImages:
    """Real images for `count` generated ones (None: 5,000, or as many as there are), always the same.

    Without `beside`, half of the reference is set aside in its place. ValueError where there are too few, or the sets differ in size.
    """
    if beside is None:
        order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
        half = len(reference) // 2
        rows, others, beside = order[half:], order[:half], reference
    else:
        if (tuple(beside.size), beside.channels) != (tuple(reference.size), reference.channels):
            raise ValueError(f"beside: images of {beside.size}, but those of the reference are of {reference.size}")
        if beside.fingerprint() == reference.fingerprint():
            raise ValueError("beside: the same images as the reference, which would make a floor of nothing; name others, or none")
        rows = torch.randperm(len(reference), generator=torch.Generator().manual_seed(0))
        others = torch.randperm(len(beside), generator=torch.Generator().manual_seed(1))
    least = 2 * (NEIGHBOURS + 1)
    if min(len(rows), len(others)) < least:
        raise ValueError(
            f"images: there are {len(rows)} as reference and {len(others)} beside them, and {least} of each are the fewest: "
            f"name a folder of {2 * least} or more, or others by --beside"
        )
    most = min(len(others), SEEDS)
    count = min(5000, most) if count is None else count
    if not least <= count <= most:
        raise ValueError(f"count: got {count}; of {len(others)} images beside the reference, give {least} to {most}")
    return RealImages(reference, rows, beside, others[:count])


def named(images: ImageSet, rows: Tensor, class_names: Sequence[str]) -> Tensor | None:
    """Classes of some images as indices of `class_names`; None where the set's classes are others."""
    class_names, own = [*map(composed, class_names)], [*map(composed, images.class_names)]
    if images.labels is None or len(set(class_names)) < len(class_names) or set(own) != set(class_names):
        return None
    return torch.tensor([class_names.index(name) for name in own])[images.labels[rows]]


def total(real: RealImages) -> int:
    """The number of images that are read or drawn in all."""
    return len(real.rows) + 2 * len(real.beside_rows)
