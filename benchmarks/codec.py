"""What compressing costs and gives: coders, formats that people use, and lost packets.

    python benchmarks/codec.py                         # the shipped pipeline on the test images of Fashion-MNIST
    python benchmarks/codec.py --part loss --images 500
    python benchmarks/codec.py --part rate --name photographs --pipeline P --data FOLDER --net NET     # another pipeline, on a folder

coders   bytes of each coder beside the ideal length, images a second, and whether every image's codes came back
rate     PSNR, SSIM and feature distance against bytes, beside JPEG, WebP, AVIF and JPEG XL (pip install pillow-jxl-plugin)
loss     places lost at random or in one run: restored by the model, and otherwise
strip    a file that is cut short, from 5 % of its bytes to all of them

Prints tables, writes docs/codec.json and docs/pictures/codec-*.png. Feature distance: Euclidean, between the features of an image and of
what came back, in the space of the classifier that ships or of NET, mean over images; it is no FID. The physical limit of lossless coding
is the entropy of the codes, which nobody knows; the shortest code that a model gives is an upper bound of it.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitmosaic import Pipeline, compression
from bitmosaic.codec import CODERS, Container
from bitmosaic.codec.base import LIMIT, probabilities
from bitmosaic.codes import Codes
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.reconstruction import likeness
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import Folder, captioned, fashion_mnist, fashion_sample, in_order, save, to_uint8

ROOT = Path(__file__).resolve().parents[1]
CHUNK = 50
SHARES = (0.05, 0.1, 0.2, 0.4)


class Space:
    """Features of uint8 images (n, C, H, W)."""

    def __init__(self, net: str):
        self.space = FeatureSpace.load(net)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        with measuring(self.space.net):
            return torch.cat(in_chunks(len(pixels), CHUNK, lambda chunk: self.space.measure(pixels[chunk]).pooled, 2))


def quality(space: Space, given: torch.Tensor, found: torch.Tensor) -> dict[str, float]:
    """Means over images, uint8 (n, C, H, W)."""
    psnr, ssim, _, _ = likeness(given, found)
    distance = (space(found) - space(given)).norm(dim=1)
    return {"psnr": float(psnr.mean()), "ssim": float(ssim.mean()), "feature distance": float(distance.mean())}


def pixels_of(pipe: Pipeline, codes: Codes) -> torch.Tensor:
    """uint8 (n, C, H, W)."""
    return to_uint8(pipe.decode(codes, "pt"))


def coders(pipe: Pipeline, codes: Codes) -> dict[str, dict]:
    """Every coder on all codes, one core for each chunk."""
    found = {}
    for name in CODERS:
        start = time.perf_counter()
        files = sum(in_chunks(len(codes), CHUNK, lambda c, name=name: compression.compress_codes(pipe, codes[c], name), 2), [])
        encoding = time.perf_counter() - start
        start = time.perf_counter()
        chunks = in_chunks(len(codes), CHUNK, lambda c, files=files: compression.decompress_codes(pipe, files[c])[0].digits, 2)
        decoding = time.perf_counter() - start
        containers = [Container.from_bytes(file) for file in files]
        found[name] = {
            "images": len(codes), "lossless": bool(torch.equal(torch.cat(chunks), codes.digits)),
            "payload bytes": float(np.mean([sum(map(len, c.packets)) for c in containers])),
            "file bytes": float(np.mean([*map(len, files)])),
            "roundings written down": float(np.mean([len(c.exceptions) for c in containers])),
            "encoded a second": len(codes) / encoding, "decoded a second": len(codes) / decoding,
        }  # fmt: skip
        if name == "uniform":
            found[name]["ideal bytes"] = codes.bits_per_image / 8
        if name == "static":
            p = torch.from_numpy(probabilities())[pipe.static.levels.long() + LIMIT]
            x = codes.flat().double()
            found[name]["ideal bytes"] = float(-(x * p.log2() + (1 - x) * (1 - p).log2()).sum((1, 2)).mean()) / 8
        print(f"{name:8} {found[name]}", flush=True)
    found["prior"]["smaller than static"] = 1 - found["prior"]["payload bytes"] / found["static"]["payload bytes"]
    return found


def formats() -> dict[str, list[dict]]:
    """What Pillow is told, by format, from small to large files."""
    qualities = (1, 5, 10, 20, 35, 50, 65, 80, 90, 97)
    found = {
        "JPEG": [{"format": "JPEG", "quality": q, "optimize": True} for q in qualities],
        "WebP": [{"format": "WEBP", "quality": q, "method": 6} for q in qualities],
        "AVIF": [{"format": "AVIF", "quality": q, "speed": 2} for q in qualities],
    }
    try:
        import pillow_jxl  # noqa: F401  (enters itself in Pillow)

        found["JPEG XL"] = [{"format": "JXL", "quality": q, "effort": 9} for q in qualities]
    except ImportError:
        print("JPEG XL is left out; pip install -c constraints.txt pillow-jxl-plugin brings it")
    return found


def rate(pipe: Pipeline, pixels: torch.Tensor, space: Space) -> dict[str, list[dict]]:
    """Bytes and quality of each format's settings, and ours: each coder."""
    found: dict[str, list[dict]] = {}
    for name, settings in formats().items():
        for way in settings:
            sizes, back = [], []
            for image in pixels:
                stream = io.BytesIO()
                picture = Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())
                picture.save(stream, **way)
                sizes.append(stream.tell())
                again = np.asarray(Image.open(stream).convert(picture.mode))
                back.append(torch.from_numpy(again.copy())[None] if again.ndim == 2 else torch.from_numpy(again.copy()).permute(2, 0, 1))
            found.setdefault(name, []).append({"bytes": float(np.mean(sizes)), **quality(space, pixels, torch.stack(back)), "setting": way})
        print(name, [(round(p["bytes"]), round(p["psnr"], 1)) for p in found[name]], flush=True)
    codes = pipe.encode(list(pixels))
    ours = quality(space, pixels, pixels_of(pipe, codes))
    for name in CODERS:
        files = compression.compress_codes(pipe, codes, name)
        payload = float(np.mean([sum(map(len, Container.from_bytes(f).packets)) for f in files]))
        found[f"ours, {name}"] = [{"bytes": float(np.mean([*map(len, files)])), "without header": payload, **ours}]
    return found


def lost(kind: str, share: float, count: int, grid: tuple[int, int]) -> torch.Tensor:
    """Which places of `count` images are known, (count, *grid)."""
    places = grid[0] * grid[1]
    rng, gone = torch.Generator().manual_seed(0), round(share * places)
    start = torch.randint(places, (count, 1), generator=rng)
    ranks = torch.rand(count, places, generator=rng).argsort(1).argsort(1) if kind == "random" else (torch.arange(places) - start) % places
    return (ranks >= gone).view(count, *grid)


def losses(pipe: Pipeline, codes: Codes, space: Space, shelf: Codes) -> list[dict]:
    """Ways to fill lost places, for each kind and share of loss; shelf: codes of other images, to be copied from."""
    whole, found = pixels_of(pipe, codes), []
    flat, usual, others = codes.flat(), (pipe.static.levels > 0).to(torch.uint8), shelf.flat()
    signs = others.float() * 2 - 1
    for kind in ("random", "burst"):
        for share in SHARES:
            known = lost(kind, share, len(codes), codes.grid)
            there = known.flatten(1)[..., None]
            near = (signs.flatten(1) @ ((flat.float() * 2 - 1) * there).flatten(1).T).argmax(0)
            ways = {name: torch.where(there, flat, fill) for name, fill in (
                ("blank", torch.zeros_like(usual)), ("most frequent", usual), ("nearest", others[near]))}  # fmt: skip
            images = {name: pixels_of(pipe, Codes(digits.view(codes.digits.shape), codes.radix)) for name, digits in ways.items()}
            restored = in_chunks(len(codes), CHUNK, lambda c, known=known: to_uint8(
                compression.decompressed(pipe, codes[c], known[c], list(range(c.start, c.stop)), "pt")), 2)  # fmt: skip
            images["restored"] = torch.cat(restored)
            rows = {name: quality(space, whole, made) for name, made in images.items()}
            closed = 1 - rows["restored"]["feature distance"] / rows["blank"]["feature distance"]
            told = {name: round(row["feature distance"], 2) for name, row in rows.items()}
            print(f"{kind} {share:.0%}: the model closes {closed:.0%} of the gap; {told}", flush=True)
            found.append({"kind": kind, "share": share, "ways": rows, "gap closed": closed})
    return found


def strip(pipe: Pipeline, pixels: torch.Tensor) -> Image.Image:
    """Rows of images, columns of files cut short."""
    shares = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    rows, names = [], []
    for image in pixels:
        data = pipe.compress(image, "prior", pipe.prior.grid[0] * pipe.prior.grid[1])
        body = sum(map(len, Container.from_bytes(data).packets))
        cuts = [data[: len(data) - body + round(body * share)] for share in shares]
        rows += [image.float() / 255, *pipe.decompress(cuts, restore=True, seeds=0, output_type="pt")]
        names += ["given", *(f"{share:.0%}" for share in shares)]
    return captioned(torch.stack(rows), names, len(shares) + 1, 4)


def as_good(found: dict[str, list[dict]]) -> str:
    """A table in Markdown: bytes an image that other formats need to be as good as we are, between settings by the logarithm of bytes."""
    ours = found["ours, prior"][0]
    lines = ["| format | smallest file | as good in PSNR | in SSIM | in feature distance |", "|---|---|---|---|---|"]
    for name, points in found.items():
        if name.startswith("ours"):
            lines.append(f"| {name} | {points[0]['bytes']:.0f} | | | |")
            continue
        points, cells = sorted(points, key=lambda p: p["bytes"]), []
        for key, sign in (("psnr", 1), ("ssim", 1), ("feature distance", -1)):
            worse = [i for i, p in enumerate(points) if sign * p[key] < sign * ours[key]]
            if not worse:
                cells.append(f"below {points[0]['bytes']:.0f}")
            elif worse[-1] + 1 == len(points):
                cells.append(f"above {points[-1]['bytes']:.0f}")
            else:
                below, above = points[worse[-1]], points[worse[-1] + 1]
                way = (ours[key] - below[key]) / (above[key] - below[key])
                cells.append(f"{below['bytes'] ** (1 - way) * above['bytes'] ** way:.0f}")
        lines.append(f"| {name} | {points[0]['bytes']:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rate_plot(found: dict[str, list[dict]], path: Path) -> None:
    """Three panels: quality against bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((11, 3.6), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    colours = {"JPEG": "#8a8a8a", "WebP": "#c98a1b", "AVIF": "#2f8f6b", "JPEG XL": "#8b4fa8"}
    marks = {"uniform": "^", "static": "s", "prior": "o"}
    words = {"psnr": "PSNR, dB", "ssim": "SSIM", "feature distance": "feature distance (lower is better)"}
    for axis, (key, label) in zip(figure.subplots(1, 3), words.items(), strict=True):
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


def main() -> None:
    """Reads the arguments, does what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("coders", "rate", "loss", "strip"), help="only this one")
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--data", help="folder of images for coders and rate; else the test images of Fashion-MNIST")
    parser.add_argument("--net", default="fashion", help="feature net, as in bitmosaic evaluate")
    parser.add_argument("--name", default="", help="of the data, in the names of what is written; needed with --data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    given = parser.parse_args()
    if bool(given.data) != bool(given.name) or given.data and given.part not in ("coders", "rate"):
        parser.error("--data goes with --name, and with --part coders or --part rate")
    pipe, space, test = Pipeline.from_pretrained(given.pipeline), Space(given.net), fashion_sample()
    spec, path = pipe.tokenizer.spec, given.out / "codec.json"
    images = Folder(given.data, spec.image_size, spec.channels) if given.data else test
    pixels = torch.cat([batch.images for batch in in_order(images, 100)])[: given.images]
    found = read_json(path) if path.exists() else {}
    parts = {
        "coders": lambda: coders(pipe, pipe.encode(list(pixels))), "rate": lambda: rate(pipe, pixels, space),
        "loss": lambda: losses(pipe, pipe.encode(list(pixels)), space, pipe.encode(list(fashion_mnist().pixels[:10_000]))),
        "strip": lambda: save(strip(pipe, test.pixels[[0, 1, 2, 3, 8, 9]]), given.out / "pictures" / "codec-strip.png"),
    }  # fmt: skip
    torch.set_num_threads(1)
    for part in [given.part] if given.part else parts:
        made, name = parts[part](), f"{given.name} {part}".strip()
        if made:
            found[name] = made
            write_json(path, found)
        if part == "rate":
            print(as_good(made))
            rate_plot(made, given.out / "pictures" / f"codec-{name.replace(' ', '-')}.png")


if __name__ == "__main__":
    main()
