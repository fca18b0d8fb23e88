"""A picture of an evaluation: real, reconstructed and generated images, their places in feature space, and the figures."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bitmosaic.evaluate.evaluation_text import title
from bitmosaic.images.text import families, shown

SHOWN, POINTS = 12, 2000  # images in a row, points of each kind
NAMES = {"real": "real", "restored": "the tokenizer's\nreconstruction", "drawn": "drawn by\nthe pipeline"}
COLOURS = {"reference": "#9a9a9a", "samples": "#d1495b"}


def evaluation_plot(figures: dict[str, Any], pictures: dict[str, Tensor], note: str) -> Image.Image:
    """`figures` and `pictures` as `evaluate` returns them."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 8.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.9, 5))
    names = [name for name in NAMES if name in pictures]
    for axis, name in zip(above.subplots(len(names), 1), names, strict=True):
        images = pictures[name]
        chosen = images[torch.arange(min(SHOWN, len(images))) * len(images) // min(SHOWN, len(images))]
        strip = torch.cat([torch.nn.functional.pad(image, (1, 1), value=255) for image in chosen], -1).movedim(0, -1)
        axis.imshow(strip.expand(-1, -1, 3).numpy(), interpolation="nearest")
        axis.set_axis_off()
        axis.text(-0.01, 0.5, NAMES[name], transform=axis.transAxes, ha="right", va="center", fontsize=9)
    left, right = below.subplots(1, 2, width_ratios=(5, 6))
    _plane(left, pictures)
    _table(right, figures)
    figure.suptitle(shown(note), fontsize=11, fontfamily=families([note]), parse_math=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return Image.open(stream).convert("RGB")


def _plane(axis, pictures: dict[str, Tensor]) -> None:
    """Both sets projected on the first two principal axes of the reference."""
    reference = pictures["reference"].double()
    mean = reference.mean(0)
    axes = torch.linalg.eigh((reference - mean).T.cov()).eigenvectors[:, -2:]
    for name, label in (("reference", "real images"), ("samples", "drawn by the pipeline")):
        plane = (pictures[name][:POINTS].double() - mean) @ axes
        axis.scatter(plane[:, -1], plane[:, 0], s=4, alpha=0.45, linewidths=0, color=COLOURS[name], label=label)
    axis.set(xticks=[], yticks=[], title="in the two main axes of the real images' features")
    axis.title.set_fontsize(10)
    axis.legend(frameon=False, fontsize=9, markerscale=3, loc="upper right")


def _table(axis, figures: dict[str, Any]) -> None:
    axis.set_axis_off()
    rows = [("drawn images", "value", "floor", True), *_values(figures["samples"])]
    if "reconstruction" in figures:
        rows += [("", "", "", False), *_reconstructions(figures["reconstruction"])]
    for i, (name, value, floor, head) in enumerate(rows):
        for x, text, side in ((0.04, name, "left"), (0.76, value, "right"), (0.98, floor, "right")):
            weight = "bold" if head and text == name else "normal"
            axis.text(x, 1 - (i + 0.5) / len(rows), text, ha=side, va="center", fontsize=9.5, weight=weight)


def _reconstructions(kept: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    rows = [("reconstructions", "value", "floor", True), *_values(kept)]
    rows += [("PSNR", f"{kept['psnr']:.2f} dB", "", False), ("SSIM, MS-SSIM", f"{kept['ssim']:.3f}, {kept['ms_ssim']:.3f}", "", False)]
    rows += [("bits an image", f"{kept['bits_per_image']:,.0f}", "", False)]
    if kept["bits"]:
        rows += [("dead bits", f"{len(kept['bits']['dead'])} of {len(kept['bits']['mean'])}", "", False)]
    return rows


def _values(group: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    found = [(title(name), pair) for name, pair in group.items() if isinstance(pair, dict) and "value" in pair]
    return [(name, f"{pair['value']:.4f}", f"{pair['floor']:.4f}" if "floor" in pair else "", False) for name, pair in found]
