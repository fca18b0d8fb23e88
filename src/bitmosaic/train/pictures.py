"""What a run shows of itself while it goes on: reconstructions, samples of each class, curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from bitmosaic.evaluate.curves import curves
from bitmosaic.images import grid, sheet
from bitmosaic.names import plain
from bitmosaic.pipelines import Pipeline
from bitmosaic.tokenizers.base import Tokenizer


def reconstructions(tokenizer: Tokenizer, images: torch.Tensor) -> Image.Image:
    """Each image above its reconstruction, eight to a row; images (n, C, H, W) in [0, 1]."""
    with torch.inference_mode():
        made = tokenizer.decode(tokenizer.encode(images)).cpu()
    images = images.cpu()
    rows = []
    for start in range(0, len(images), 8):
        for part in (images[start : start + 8], made[start : start + 8]):
            blank = torch.ones(8 - len(part), *part.shape[1:]) if len(part) < 8 else part[:0]
            rows.append(torch.cat([part, blank]))
    return grid(torch.cat(rows), 8, scale=enlargement(images.shape[-1]))


def class_sheet(
    pipeline: Pipeline, columns: int, seed: int = 0, title: str | None = None, prompts: Sequence[str] = (), **settings
) -> Image.Image:  # fmt: skip
    """`columns` samples of every class (of the first twenty) or of each prompt, a row each; of neither, eight rows of samples."""
    names = list(pipeline.class_names[:20] or prompts)
    given = prompts if prompts and not pipeline.class_names else range(len(names)) if names else [None] * 8
    conditions = [c for c in given for _ in range(columns)]
    images = pipeline(conditions, seeds=[seed + i % columns for i in range(len(conditions))], output_type="pt", **settings)
    rows = images.unflatten(0, (-1, columns))
    return sheet(rows, names or [""] * len(rows), scale=enlargement(images.shape[-1]), title=title)


def enlargement(side: int) -> int:
    """How many times an image of this side is enlarged to be looked at."""
    return max(1, 64 // side)


def draw_curves(out: Path, stage: str, title: str, say) -> None:
    """The stage's curves as a picture; where its metrics are gone or damaged this is told, and holds nothing up."""
    try:
        curves(out / stage / "metrics.jsonl", out / f"curves-{stage}.png", title)
    except ValueError as error:
        say(plain(f"{stage}: no curves: {error}"))
