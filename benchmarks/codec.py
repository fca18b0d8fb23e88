"""What compressing costs and gives: coders, formats that people use, and lost packets.

    python benchmarks/codec.py                         # the shipped pipeline on the test images of Fashion-MNIST
    python benchmarks/codec.py --part loss --images 500
    python benchmarks/codec.py --part rate --name photographs --pipeline P --data FOLDER --net NET     # another pipeline, on a folder

coders   bytes of each coder beside the ideal length, images a second, and whether every image's codes came back
rate     PSNR, SSIM and feature distance against bytes, beside JPEG, WebP, AVIF and JPEG XL (pip install pillow-jxl-plugin): codec_rate.py
scale    bytes of codes by the scale of the prior's logits, on images of the training set and others
loss     places lost at random or in one run: restored by the model, and otherwise
strip    a file that is cut short, from 5 % of its bytes to all of them

Prints tables, writes docs/codec.json and docs/pictures/codec-*.png. Feature distance: Euclidean, between the features of an image and of
what came back, in the space of the classifier that ships or of NET, mean over images; it is no FID. The physical limit of lossless coding
is the entropy of the codes, which nobody knows; the shortest code that a model gives is an upper bound of it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from codec_rate import as_good, pixels_of, quality, rate, rate_plot, smallest
from PIL import Image

from bitmosaic import Pipeline
from bitmosaic.codec import CODERS, ONE, Container, PriorCoder
from bitmosaic.codec.base import LIMIT, probabilities
from bitmosaic.codes import Codes
from bitmosaic.evaluate.mode import measuring
from bitmosaic.evaluate.parallel import in_chunks
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import Folder, captioned, fashion_mnist, fashion_sample, in_order, save, to_uint8
from bitmosaic.pipelines import compression, find_pipeline

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


def coders(pipe: Pipeline, codes: Codes, speeds: dict[str, dict] | None = None) -> dict[str, dict]:
    """Every coder on all codes, one core for each chunk. speeds: of an earlier run, to be kept."""
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
            **(speeds or {}).get(name, {"encoded a second": len(codes) / encoding, "decoded a second": len(codes) / decoding}),
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


def scales(pipe: Pipeline, sets: dict[str, Codes]) -> dict[str, dict]:
    """Mean bytes of the prior's codes for every scale of its logits, in 16ths, ideal lengths; and the scale that is the best."""
    found = {}
    for name, codes in sets.items():
        parts = in_chunks(len(codes), CHUNK, lambda c, codes=codes: PriorCoder(pipe.prior).lengths(codes[c]), 2)
        lengths = torch.stack(parts).sum(0) / len(codes) / 8
        best = 1 + int(lengths.argmin())
        found[name] = {"images": len(codes), "best": best, "bytes": {str(i + 1): float(n) for i, n in enumerate(lengths)}}
        saved = {i: f"{1 - float(lengths[i - 1] / lengths[ONE - 1]):.2%}" for i in (pipe.logit_scale, best)}
        print(f"{name}: {float(lengths[ONE - 1]):.2f} bytes as the logits are; saved at scales of 1/{ONE}: {saved}", flush=True)
    return found


def lost(kind: str, share: float, count: int, grid: tuple[int, int]) -> torch.Tensor:
    """Which places of `count` images are known, (count, *grid)."""
    places = grid[0] * grid[1]
    rng, gone = torch.Generator().manual_seed(0), round(share * places)
    start = torch.randint(places, (count, 1), generator=rng)
    ranks = torch.rand(count, places, generator=rng).argsort(1).argsort(1) if kind == "random" else (torch.arange(places) - start) % places
    return (ranks >= gone).view(count, *grid)


def losses(pipe: Pipeline, codes: Codes, space: Space, pool: Codes) -> list[dict]:
    """Ways to fill lost places, for each kind and share of loss; pool: codes of other images, to be copied from."""
    whole, found = pixels_of(pipe, codes), []
    flat, usual, others = codes.flat(), (pipe.static.levels > 0).to(torch.uint8), pool.flat()
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


def model_bytes(pipeline: str) -> int:
    """Bytes of all that a decoder must have of a pipeline."""
    return sum(path.stat().st_size for path in find_pipeline(pipeline).rglob("*.safetensors"))


def main() -> None:
    """Reads the arguments, does what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("coders", "rate", "scale", "loss", "strip"), help="only this one")
    parser.add_argument("--pipeline", default="fashion")
    parser.add_argument("--data", help="folder of images for coders and rate; else the test images of Fashion-MNIST")
    parser.add_argument("--net", default="fashion", help="feature net, as in bitmosaic evaluate")
    parser.add_argument("--name", default="", help="of the data, in the names of what is written; needed with --data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--keep-speeds", action="store_true", help="those in codec.json: this machine is busy")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    given = parser.parse_args()
    if bool(given.data) != bool(given.name) or given.data and given.part not in ("coders", "rate"):
        parser.error("--data goes with --name, and with --part coders or --part rate")
    pipe, space, test = Pipeline.from_pretrained(given.pipeline), Space(given.net), fashion_sample()
    spec, path = pipe.tokenizer.spec, given.out / "codec.json"
    images = Folder(given.data, spec.image_size, spec.channels) if given.data else test
    pixels = torch.cat([batch.images for batch in in_order(images, 100)])[: given.images]
    found = read_json(path) if path.exists() else {}
    before = found.get(f"{given.name} coders".strip(), {}) if given.keep_speeds else {}
    speeds = {name: {key: row[key] for key in row if key.endswith("a second")} for name, row in before.items()}
    parts = {
        "coders": lambda: coders(pipe, pipe.encode(list(pixels)), speeds), "rate": lambda: rate(pipe, pixels, space),
        "scale": lambda: scales(pipe, {"training images": pipe.encode(list(fashion_mnist().pixels[: given.images])),
                                       "test images": pipe.encode(list(pixels))}),
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
            print(smallest(made), as_good(made, model_bytes(given.pipeline)), sep="\n\n")
            rate_plot(made, given.out / "pictures" / f"codec-{name.replace(' ', '-')}.png")


if __name__ == "__main__":
    main()
