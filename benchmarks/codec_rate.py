"""The part `rate` of codec.py: bytes and quality of our files and of JPEG, WebP, AVIF and JPEG XL, from the smallest files they make on.

PSNR, SSIM and feature distance are means over images, with their tails: the worst 5 % begin at "tail", and "worst" is the worst image.
SSIM is given twice: over all pixels, the image being mirrored at its border, as torchmetrics does it and as the rest of the docs has it;
and "inside", where the window lies within the image, as Wang et al. defined it. A clothing's black border, mirrored, is right in any file.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitmosaic import Pipeline
from bitmosaic.codec import CODERS, Container
from bitmosaic.codes import Codes
from bitmosaic.evaluate.reconstruction import likeness
from bitmosaic.images import to_uint8
from bitmosaic.pipelines import compression

QUALITIES = (0, 1, 2, 5, 10, 20, 35, 50, 65, 80, 90, 97)
RADIUS = 5  # of SSIM's window
MEASURES = {"psnr": 1, "ssim": 1, "ssim inside": 1, "feature distance": -1}  # -1: less is better


def quality(space, given: torch.Tensor, found: torch.Tensor) -> dict[str, float]:
    """Means and tails over images, uint8 (n, C, H, W)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    psnr, ssim, _, _ = likeness(given, found)
    pair = found.float() / 255, given.float() / 255
    _, each = structural_similarity_index_measure(*pair, reduction="none", data_range=1.0, return_full_image=True)
    inside = each[..., RADIUS:-RADIUS, RADIUS:-RADIUS].mean((1, 2, 3))
    values = {"psnr": psnr, "ssim": ssim, "ssim inside": inside, "feature distance": (space(found) - space(given)).norm(dim=1)}
    made: dict[str, float] = {}
    for name, sign in MEASURES.items():
        x = sign * values[name].double()
        made |= {name: sign * float(x.mean()), f"{name}, tail": sign * float(x.quantile(0.05)), f"{name}, worst": sign * float(x.min())}
    return made


def pixels_of(pipe: Pipeline, codes: Codes) -> torch.Tensor:
    """uint8 (n, C, H, W)."""
    return to_uint8(pipe.decode(codes, "pt"))


def formats() -> dict[str, list[dict]]:
    """What Pillow is told, by format, from small to large files."""
    found = {
        "JPEG": [{"format": "JPEG", "quality": q, "optimize": True} for q in QUALITIES],
        "WebP": [{"format": "WEBP", "quality": q, "method": 6} for q in (0, 0.1, 0.25, 0.5, *QUALITIES[1:])],
        "AVIF": [{"format": "AVIF", "quality": q, "speed": 2, "max_threads": 1} for q in QUALITIES],
    }
    try:
        import pillow_jxl  # noqa: F401  (enters itself in Pillow)

        found["JPEG XL"] = [{"format": "JXL", "quality": q, "effort": 10} for q in QUALITIES]
    except ImportError:
        print("JPEG XL is left out; pip install -c constraints.txt pillow-jxl-plugin brings it")
    return found


def header(kind: str, data: bytes) -> int:
    """Bytes of a file beside the coded pixels."""
    if kind == "JPEG":  # tables, up to the end of the scan's header, and the end's marker
        scan = data.index(b"\xff\xda")
        return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4]) + 2
    if kind == "WEBP":  # RIFF, the chunk's header, and the frame's
        assert data[12:16] == b"VP8 "
        return 20 + 10
    if kind == "AVIF":  # all boxes but the content of one
        box = data.index(b"mdat") - 4
        return len(data) - (int.from_bytes(data[box : box + 4]) - 8)
    assert data[:2] == b"\xff\x0a"  # a bare codestream of JPEG XL: two bytes, and some bits that are coded with the rest
    return 2


def rate(pipe: Pipeline, pixels: torch.Tensor, space) -> dict[str, list[dict]]:
    """Bytes and quality of each format's settings, and ours: each coder."""
    found: dict[str, list[dict]] = {}
    for name, settings in formats().items():
        for way in settings:
            sizes, headers, back = [], [], []
            for image in pixels:
                stream = io.BytesIO()
                picture = Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())
                picture.save(stream, **way)
                sizes.append(stream.tell()), headers.append(header(way["format"], stream.getvalue()))
                again = np.asarray(Image.open(stream).convert(picture.mode))
                back.append(torch.from_numpy(again.copy())[None] if again.ndim == 2 else torch.from_numpy(again.copy()).permute(2, 0, 1))
            size = {"bytes": float(np.mean(sizes)), "least bytes": min(sizes), "header": float(np.mean(headers))}
            found.setdefault(name, []).append({**size, **quality(space, pixels, torch.stack(back)), "setting": way})
        print(name, [(round(p["bytes"]), round(p["psnr"], 1)) for p in found[name]], flush=True)
    codes = pipe.encode(list(pixels))
    ours = quality(space, pixels, pixels_of(pipe, codes))
    for name in CODERS:
        files = compression.compress_codes(pipe, codes, name)
        payload = float(np.mean([sum(map(len, Container.from_bytes(f).packets)) for f in files]))
        size = {"bytes": float(np.mean([*map(len, files)])), "least bytes": min(map(len, files))}
        found[f"ours, {name}"] = [{**size, "header": size["bytes"] - payload, **ours}]
    return found


def bytes_for(points: list[dict], measure: str, value: float) -> float | None:
    """Bytes at which a format reaches a value of a measure and stays above it, between settings by the logarithm of bytes; None: never."""
    points, sign = sorted(points, key=lambda p: p["bytes"]), MEASURES[measure.split(",")[0]]
    worse = [i for i, p in enumerate(points) if sign * p[measure] < sign * value]
    if not worse:
        return points[0]["bytes"]
    if worse[-1] + 1 == len(points):
        return None
    below, above = points[worse[-1]], points[worse[-1] + 1]
    way = (value - below[measure]) / (above[measure] - below[measure])
    return below["bytes"] ** (1 - way) * above["bytes"] ** way


def smallest(found: dict[str, list[dict]]) -> str:
    """A table in Markdown: the smallest files of each format, how good they are, and their tails."""
    lines = [
        "| format | bytes | of which header | PSNR | 5 % below | worst | SSIM | inside | feature distance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, points in found.items():
        p = min(points, key=lambda p: p["bytes"])
        psnr = " | ".join(f"{p[key]:.1f}" for key in ("psnr", "psnr, tail", "psnr, worst"))
        rest = f"{p['ssim']:.3f} | {p['ssim inside']:.3f} | {p['feature distance']:.2f}"
        lines.append(f"| {name} | {p['bytes']:.0f} | {p['header']:.0f} | {psnr} | {rest} |")
    return "\n".join(lines)


def as_good(found: dict[str, list[dict]], model: int) -> str:
    """A table in Markdown: bytes an image that other formats need to be as good as we are, and after how many images ours, with the
    `model` of so many bytes that a decoder must have, are fewer.
    """
    ours = found["ours, prior"][0]
    measures = ("psnr", "psnr, tail", "psnr, worst", "ssim", "ssim inside", "feature distance")
    lines = [
        "| as good as ours in | PSNR | its 5 % point | its worst | SSIM | SSIM inside | feature distance | images that pay for the model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, points in found.items():
        if name.startswith("ours"):
            continue
        needed = [bytes_for(points, measure, ours[measure]) for measure in measures]
        saved = (needed[0] or 0) - ours["bytes"]
        paid = f"{model / saved:,.0f}" if saved > 0 else "never"
        cells = [f"{n:.0f}" if n else f"above {max(p['bytes'] for p in points):.0f}" for n in needed]
        lines.append(f"| {name} | {' | '.join(cells)} | {paid} |")
    return "\n".join(lines)


def rate_plot(found: dict[str, list[dict]], path: Path) -> None:
    """Four panels: quality against bytes, and the tail of PSNR."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((13, 3.6), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    colours = {"JPEG": "#8a8a8a", "WebP": "#c98a1b", "AVIF": "#2f8f6b", "JPEG XL": "#8b4fa8"}
    marks = {"uniform": "^", "static": "s", "prior": "o"}
    words = {"psnr": "PSNR, dB", "psnr, tail": "PSNR of the 5 % point, dB", "ssim inside": "SSIM inside the image",
             "feature distance": "feature distance (lower is better)"}  # fmt: skip
    for axis, (key, label) in zip(figure.subplots(1, 4), words.items(), strict=True):
        for name, points in found.items():
            x, y = [p["bytes"] for p in points], [p[key] for p in points]
            if name in colours:
                axis.plot(x, y, color=colours[name], marker=".", label=name)
            else:
                axis.plot(x, y, color="#1f5fa8", marker=marks[name.split()[-1]], linestyle="", label=name, markersize=7)
        ticks = [100, 200, 400, 800, 1600, 3200, 6400]
        ticks = [tick for tick in ticks if tick < 1.2 * max(p["bytes"] for points in found.values() for p in points)]
        axis.set(xscale="log", xlabel="bytes an image, headers and all", ylabel=label, xticks=ticks, xticklabels=ticks)
        axis.minorticks_off()
        axis.grid(color="#ececec", which="both")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path)
