"""How well and how fast images are found: by codes, by bits of features, by features, and beside them raw pixels and an untrained network.

    python benchmarks/search.py                   # both parts
    python benchmarks/search.py --part million

real      the 70,000 images of Fashion-MNIST and the shipped pipeline; queries are test images, each left out of its own answers
million   one million synthetic codes: codes of real images with one bit in twenty flipped, and queries made in the same way

mAP@10   mean over queries of the mean over ranks 1 to 10 of (the ten's precision down to that rank where the image there is of the query's
         class, otherwise 0)
recall@10   share of the ten that are among the ten nearest by exact search: in "real" by the trained prior's features as floats, in
            "million" by the same codes, no further than the tenth

Prints tables, writes docs/search.json and docs/pictures/search.png. The physical limit of exact search is reading all vectors once for each
batch of queries; memory of a build is what the process grew by, less the size of the index, which faiss builds in memory.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from bitmosaic import Pipeline
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import captioned, fashion_mnist, fashion_sample, save
from bitmosaic.search import Index, VectorSpec
from bitmosaic.search.index import CHUNK
from bitmosaic.search.vectors import features

ROOT = Path(__file__).resolve().parents[1]
K, BATCH = 10, 50  # found for each query; queries at a time
MILLION, FLIPPED, MADE = 1_000_000, 0.05, 10_000
SHOWN, NEAREST = (18, 8, 26, 13, 20), 7  # queries on the sheet, and how many of the images found for each


def resident() -> int:
    """Bytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def watched() -> Iterator[list[int]]:
    """A list whose last item will be the most memory held inside the block, above what was held before it."""
    start, most, done = resident(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident() - start)

    thread = threading.Thread(target=look)
    thread.start()
    yield most
    done.set()
    thread.join()


def built(folder: Path, by: str, structure: str, chunks: Callable[[], Iterator[np.ndarray]]) -> tuple[Index, dict[str, float]]:
    """An index of vectors that come in chunks, and what it took: seconds, bytes an image, memory."""
    found, count = Index.begin(folder, VectorSpec(by), structure, "benchmark", "00"), 0
    with watched() as held:
        start = time.perf_counter()
        for some in chunks():
            found.add([str(i) for i in range(count, count + len(some))], some)
            count += len(some)
        stored = time.perf_counter() - start
    with watched() as most:
        start = time.perf_counter()
        list(found.build())
        seconds = time.perf_counter() - start
    size = (found.folder / found.about["faiss"]).stat().st_size
    return found, {
        "images": count, "bytes an image": size / count, "seconds for the chunks": stored, "seconds to build": seconds,
        "MiB held for the chunks": held[0] / 2**20, "MiB held to build, less the index": (most[0] - size) / 2**20,
    }  # fmt: skip


def answers(found: Index, queries: np.ndarray, k: int) -> tuple[list[list], float]:
    """Hits of each query, and queries a second."""
    found.search(queries[:1], 1)  # the index is read once
    start = time.perf_counter()
    hits = [row for i in range(0, len(queries), BATCH) for row in found.search(queries[i : i + BATCH], k)]
    return hits, len(queries) / (time.perf_counter() - start)


def precision(numbers: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> float:
    """Mean average precision of (q, K) numbers of images; labels of all images, and of the queries."""
    right = labels[numbers] == wanted[:, None]
    return float(((right.cumsum(1) / np.arange(1, K + 1)) * right).mean())


def shared(numbers: np.ndarray, best: np.ndarray) -> float:
    """Share of (q, K) numbers that are in the same row of `best`."""
    return float(np.mean([len(np.intersect1d(*rows)) / K for rows in zip(numbers, best, strict=True)]))


def sliced(x: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def sheet(pixels: torch.Tensor, labels: np.ndarray, first: int, nearest: dict[str, np.ndarray], class_names: tuple) -> Image.Image:
    """Two rows for each of some queries: its nearest images by codes, and by features; image `first` is the first query."""
    shown, captions = [], []
    for query in SHOWN:
        for name in ("codes", "features"):
            numbers = nearest[name][query, :NEAREST]
            shown += [pixels[first + query], *pixels[numbers]]
            captions += [f"by {name}", *(class_names[label] for label in labels[numbers])]
    return captioned(torch.stack(shown).float() / 255, captions, NEAREST + 1, 4)


def real(pipe: Pipeline, folder: Path, count: int, out: Path) -> dict[str, dict]:
    """Rows by name. The database: training images, then test images; queries: the first `count` test images."""
    train, test = fashion_mnist(), fashion_sample()
    pixels, labels = torch.cat([train.pixels, test.pixels]), torch.cat([train.labels, test.labels]).numpy()
    torch.manual_seed(0)
    fresh = Pipeline(pipe.tokenizer, pipe.prior.spec.build(), pipe.sampler, pipe.class_names)
    layer, start = VectorSpec("features"), time.perf_counter()
    parts: dict[str, list] = {"codes": [], "trained": [], "untrained": []}
    seconds = dict.fromkeys(parts, 0.0)
    for some in tqdm(pixels.split(CHUNK), desc="encoding", unit="chunk"):
        start = time.perf_counter()
        codes = pipe.encode_pixels(some.float() / 255)
        parts["codes"].append(codes.pack())
        seconds["codes"] += time.perf_counter() - start
        for name, one in (("trained", pipe), ("untrained", fresh)):
            start = time.perf_counter()
            parts[name].append(features(one, codes, layer))
            seconds[name] += time.perf_counter() - start
    whole = {name: np.concatenate(rows) for name, rows in parts.items()}

    def signs(x: np.ndarray) -> np.ndarray:
        return np.packbits(x > np.median(x[: 2 * CHUNK], axis=0), axis=1)

    trained, untrained = whole["trained"], whole["untrained"]
    kinds = {
        "pixels": ("features", ["flat"], pixels.flatten(1).numpy().astype(np.float32) / 255),
        "untrained bits": ("bits", ["flat"], signs(untrained)),
        "untrained features": ("features", ["flat"], unit(untrained)),
        "codes": ("codes", ["flat", "ivf", "hnsw"], whole["codes"]),
        "bits": ("bits", ["flat", "ivf", "hnsw"], signs(trained)),
        "features": ("features", ["flat", "ivf-pq"], unit(trained)),
    }
    asked, rows, best, nearest = np.arange(len(train), len(train) + count), {}, None, {}
    for name in reversed(kinds):  # features first: the others are held against them
        by, structures, x = kinds[name]
        for structure in structures:
            found, took = built(folder / f"{name} {structure}", by, structure, sliced(x))
            hits, speed = answers(found, x[asked], K + 1)
            numbers = np.array([[hit.id for hit in row if hit.id != i][:K] for i, row in zip(asked, hits, strict=True)])
            best = numbers if best is None else best
            if structure == "flat":
                nearest[name] = numbers
            rows[f"{name}, {structure}"] = {
                "mAP@10": precision(numbers, labels, labels[asked]), "recall@10": shared(numbers, best), **took, "queries a second": speed,
            }  # fmt: skip
            print(f"{name}, {structure}: {rows[f'{name}, {structure}']}", flush=True)
    save(sheet(pixels, labels, len(train), nearest, pipe.class_names), out.parent / "pictures" / "search.png")
    ways = {"codes": seconds["codes"], "features": seconds["codes"] + seconds["trained"]}
    rates = {name: len(pixels) / taken for name, taken in ways.items()}
    return {"rows": rows, "images a second to vectors": rates, "queries": count}


def million(pipe: Pipeline, folder: Path, count: int, out: Path) -> dict[str, dict]:
    """Rows by structure."""
    codes = pipe.encode_pixels(fashion_sample().pixels.float() / 255).pack()
    size = codes.shape[1]

    def flipped(rng: np.random.Generator, n: int) -> np.ndarray:
        noise = np.packbits(rng.random((n, 8 * size), np.float32) < FLIPPED, axis=1)
        return codes[rng.integers(0, len(codes), n)] ^ noise

    def chunks() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for _ in tqdm(range(MILLION // MADE), desc="chunks", unit=f"{MADE} codes"):
            yield from np.split(flipped(rng, MADE), MADE // CHUNK)

    queries, rows, tenth = flipped(np.random.default_rng(1), count), {}, None
    for structure in ("flat", "ivf", "hnsw"):
        found, took = built(folder / structure, "codes", structure, chunks)
        hits, speed = answers(found, queries, K)
        distances = np.array([[hit.distance for hit in row] + [np.inf] * (K - len(row)) for row in hits])
        tenth = distances[:, -1:] if tenth is None else tenth
        rows[structure] = {"recall@10": float((distances <= tenth).mean()), **took, "queries a second": speed}
        print(f"{structure}: {rows[structure]}", flush=True)
    return {"rows": rows, "queries": count}


def table(found: dict[str, dict]) -> str:
    """Rows of a table in Markdown."""
    names = list(next(iter(found.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[key]:.4g}" for key in names) + " |" for name, row in found.items()]
    return "\n".join(lines)


def main() -> None:
    """Reads the arguments, does what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("real", "million"), help="only this one")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "search.json")
    given = parser.parse_args()
    pipe, found = Pipeline.from_pretrained("fashion"), read_json(given.out) if given.out.exists() else {}
    for name, part in {"real": real, "million": million}.items():
        if given.part in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                found[name] = part(pipe, Path(folder), given.queries, given.out)
            found["threads"], found["faiss"] = faiss.omp_get_max_threads(), faiss.__version__
            write_json(given.out, found)
            print(table(found[name]["rows"]))


if __name__ == "__main__":
    main()
