"""The picture of the landscapes in docs/data.md: a row of training crops for each kind.

    python benchmarks/landscapes.py --out docs/pictures/landscapes.png
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro

from bitmosaic.images import Landscapes, save, sheet


def main(out: Path = Path("landscapes.png"), columns: int = 8, seed: int = 0) -> None:
    """Draws crops of each kind at random."""
    images, rng = Landscapes(), torch.Generator().manual_seed(seed)
    rows = []
    for kind in range(len(images.class_names)):
        own = (images.labels == kind).nonzero().flatten()
        rows.append(torch.stack([images.image(int(i)) for i in own[torch.randperm(len(own), generator=rng)[:columns]]]))
    save(sheet(torch.stack(rows).float() / 255, images.class_names, 1), out)


if __name__ == "__main__":
    tyro.cli(main)
