"""Pictures of a run in progress: reconstructions, samples of each class, curves."""

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
    """Each image above its reconstruction, eight to a row, two where they are wide; signals (n, C, *size), pictures of them."""
    with torch.inference_mode():
        made = tokenizer.medium.preview(tokenizer.decode(tokenizer.encode(images)).cpu())
    images = tokenizer.medium.preview(images.cpu())
    columns, rows = across(images), []
    for start in range(0, len(images), columns):
        for part in (images[start : start + columns], made[start : start + columns]):
            blank = torch.ones(columns - len(part), *part.shape[1:]) if len(part) < columns else part[:0]
            rows.append(torch.cat([part, blank]))
    return grid(torch.cat(rows), columns, scale=enlargement(images.shape[-1]))


def across(pictures: torch.Tensor) -> int:
    """How many pictures (n, C, H, W) stand in a row: eight, of previews that are twice as wide as high and more, such as films, two."""
    return 8 if pictures.shape[-1] < 2 * pictures.shape[-2] else 2


def class_sheet(
    pipeline: Pipeline, columns: int, seed: int = 0, title: str | None = None, prompts: Sequence[str] = (), **settings
) -> Image.Image:  # fmt: skip
    """`columns` samples of every class (of the first twenty) or of each prompt, a row each; of neither, eight rows of samples."""
    names = list(pipeline.class_names[:20] or prompts)
    given = prompts if prompts and not pipeline.class_names else range(len(names)) if names else [None] * 8
    conditions = [c for c in given for _ in range(columns)]
    made = pipeline(conditions, seeds=[seed + i % columns for i in range(len(conditions))], output_type="pt", **settings)
    images = pipeline.medium.preview(made)
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
