"""How well copies are found: planted ones among test images of Fashion-MNIST, by 'bitmosaic duplicates' and by simpler means.

    python benchmarks/duplicates.py               # about five minutes on two cores

2,000 of the 10,000 test images, drawn at random, and 50 copies of each kind, each of another image:

JPEG 60, JPEG 90   saved at that quality
brighter, darker   times 1.3 and cut off at white; times 0.7
shifted            by one pixel in one of eight directions, black where nothing is known
cropped            to 24 to 26 pixels a side anywhere in the image, and scaled back by bicubic

recall      share of the planted pairs that are found
precision   share of the pairs found that were planted: what the test images hold of the same twice counts as wrong
F1          their harmonic mean

"pictures" is what the command does, as it comes, on files; "vectors alone" what it does where the pictures are gone. The rest is given the
threshold that is best for the very pairs that it is measured on: the distance of vectors (--within), the 64 signs of a DCT's lowest
frequencies against their median (a perceptual hash), and the distance of pixels. Prints a table and writes docs/duplicates.json.
"""

import argparse
import shutil
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bitmosaic.commands.duplicates import duplicates
from bitmosaic.commands.index import index
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import fashion_sample
from bitmosaic.search import Index

ROOT = Path(__file__).resolve().parents[1]
DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
Pair = frozenset[int]


def jpeg(x: np.ndarray, quality: int) -> np.ndarray:
    """Saved and read again."""
    held = BytesIO()
    Image.fromarray(x).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By one pixel."""
    return np.roll(np.pad(x, 1), DIRECTIONS[rng.integers(8)], (0, 1))[1:-1, 1:-1]


def cropped(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square of 24 to 26 pixels, scaled to the size of the whole."""
    side = int(rng.integers(24, 27))
    left, top = rng.integers(0, 28 - side + 1, 2).tolist()
    return np.asarray(Image.fromarray(x).crop((left, top, left + side, top + side)).resize((28, 28), Image.BICUBIC))


KINDS = {
    "JPEG 60": lambda x, rng: jpeg(x, 60),
    "JPEG 90": lambda x, rng: jpeg(x, 90),
    "brighter": lambda x, rng: np.clip(1.3 * x, 0, 255).astype(np.uint8),
    "darker": lambda x, rng: (0.7 * x).astype(np.uint8),
    "shifted": shifted,
    "cropped": cropped,
}


def planted(seed: int, count: int, each: int) -> tuple[np.ndarray, dict[Pair, str]]:
    """Images, uint8 (n, 28, 28), and the pairs of originals and copies with their kinds."""
    rng, pixels = np.random.default_rng(seed), fashion_sample().pixels[:, 0].numpy()
    rows, truth = [*pixels[rng.choice(len(pixels), count, replace=False)]], {}
    for i, kind in zip(rng.permutation(count)[: each * len(KINDS)].tolist(), list(KINDS) * each, strict=True):
        truth[frozenset((i, len(rows)))] = kind
        rows.append(KINDS[kind](rows[i], rng))
    return np.stack(rows), truth


def by_command(folder: Path, rows: np.ndarray, by: str) -> dict[str, set[Pair]]:
    """Pairs that the command finds, with the pictures there and with all of them gone; and the index in `folder`."""
    library, out = folder / "library", folder / by
    library.mkdir()
    for i, row in enumerate(rows):
        Image.fromarray(row).save(library / f"{i}.png")
    found = {}
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        index(str(library), out, by=by)
        for name in (f"pictures, index by {by}", f"vectors alone, index by {by}"):
            if "vectors" in name:
                shutil.rmtree(library)
            start = time.perf_counter()
            duplicates(out, out=folder / f"{by}-found")
            told = read_json(folder / f"{by}-found" / "duplicates.json")["pairs"]
            found[name] = {frozenset(int(Path(image).stem) for image in pair["images"]) for pair in told}, time.perf_counter() - start
    return found


def at_best(distances: np.ndarray, truth: dict[Pair, str]) -> set[Pair]:
    """The pairs below the threshold with the highest F1, of a matrix of distances."""
    a, b = np.triu_indices(len(distances), 1)
    order = np.argsort(distances[a, b], kind="stable")[: 20 * len(truth)]
    a, b, near = a[order], b[order], distances[a, b][order]
    right = np.cumsum([frozenset((int(i), int(j))) in truth for i, j in zip(a, b, strict=True)])
    ends = np.append(near[1:] > near[:-1], True)  # a threshold takes all pairs of its distance
    f1 = np.where(ends, 2 * right / (np.arange(1, len(right) + 1) + len(truth)), 0)
    best = int(f1.argmax()) + 1
    return {frozenset((int(i), int(j))) for i, j in zip(a[:best], b[:best], strict=True)}


def hashes(rows: np.ndarray) -> np.ndarray:
    """bool (n, 64): signs of the lowest frequencies of a DCT of 32 x 32 pixels against their median."""
    large = np.stack([np.asarray(Image.fromarray(row).resize((32, 32), Image.LANCZOS), np.float64) for row in rows])
    wave = np.cos(np.pi / 32 * (np.arange(32) + 0.5) * np.arange(8)[:, None])
    low = (wave @ large @ wave.T).reshape(len(rows), 64)
    return low > np.median(low[:, 1:], axis=1, keepdims=True)


def apart(x: np.ndarray) -> np.ndarray:
    """Squared distances of all rows (n, D)."""
    x = torch.from_numpy(np.ascontiguousarray(x, np.float32))
    return torch.cdist(x, x).square().numpy()


def scores(found: set[Pair], truth: dict[Pair, str]) -> dict[str, float]:
    """Recall of each kind, of all, precision and F1."""
    right = found & truth.keys()
    rows = {kind: sum(truth[pair] == kind for pair in right) / sum(k == kind for k in truth.values()) for kind in KINDS}
    recall, precision = len(right) / len(truth), len(right) / max(1, len(found))
    return {**rows, "recall": recall, "precision": precision, "F1": 2 * len(right) / (len(found) + len(truth))}


def measured(seed: int, count: int, each: int) -> dict[str, dict[str, float]]:
    """Scores of everything on one draw."""
    rows, truth = planted(seed, count, each)
    found, made = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for by in ("codes", "features"):
            for name, (pairs, seconds) in by_command(Path(folder), rows, by).items():
                found[name] = {**scores(pairs, truth), "seconds": seconds}
            index_ = Index.open(Path(folder) / by)
            ids = np.array([index_.present()[f"{i}.png"] for i in range(len(rows))])
            made[by] = index_.vectors(ids)
    made["codes"] = np.unpackbits(made["codes"], axis=1)
    made = {f"distance of {by}": x for by, x in made.items()} | {"perceptual hash": hashes(rows), "pixels": rows.reshape(len(rows), -1)}
    for name, x in made.items():
        found[f"{name}, best threshold"] = scores(at_best(apart(x), truth), truth)
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """In Markdown."""
    names = [*KINDS, "recall", "precision", "F1"]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return "\n".join(lines + [f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in names) + " |" for name, row in found.items()])


def main() -> None:
    """Reads the arguments, does what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--each", type=int, default=50, help="copies of each kind")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "duplicates.json")
    given = parser.parse_args()
    runs = []
    for seed in range(given.seeds):
        runs.append(measured(seed, given.images, given.each))
        print(f"seed {seed}: " + ", ".join(f"{name} {row['F1']:.3f}" for name, row in runs[-1].items()), flush=True)
    mean = {name: {key: float(np.mean([run[name][key] for run in runs])) for key in row} for name, row in runs[0].items()}
    spread = {name: [min(run[name]["F1"] for run in runs), max(run[name]["F1"] for run in runs)] for name in mean}
    about = {"images": given.images, "copies of each kind": given.each, "seeds": given.seeds, "threads": torch.get_num_threads()}
    write_json(given.out, {**about, "mean": mean, "F1 from and to": spread})
    print(table(mean))


if __name__ == "__main__":
    main()
