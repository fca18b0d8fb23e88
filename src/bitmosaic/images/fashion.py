"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 grey pictures of clothes, 28 x 28, in ten classes.

The test split ships with the package; the training split is read from where it lies.
"""

import functools
import os
from importlib import resources
from pathlib import Path

from .base import ArrayImages
from .idx import read_idx

FASHION_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

DATA_VARIABLE = "BITMOSAIC_DATA"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts the files

_PREFIXES = {"train": "train", "test": "t10k"}


def fashion_mnist(folder: str | os.PathLike | None = None, split: str = "train") -> ArrayImages:
    """All images of a split, "train" (60,000) or "test" (10,000), from the four IDX files, plain or .gz.

    folder: where they lie, there or in its sub-folder fashion-mnist. Without it they are looked for in the folder that
    the variable BITMOSAIC_DATA names, in the same two places, and then where Debian's package puts them.
    ValueError if they are not found or are damaged.
    """
    if split not in _PREFIXES:
        raise ValueError(f"split: got {split!r}; give 'train' or 'test'")
    places = _places(folder)
    for place in places:
        images, labels = (_find(place, f"{_PREFIXES[split]}-{part}-ubyte") for part in ("images-idx3", "labels-idx1"))
        if images and labels:
            return _load(images, labels)
    raise ValueError(
        f"folder: no Fashion-MNIST {split} files in {', '.join(map(str, places))}; install them with 'apt-get install "
        f"dataset-fashion-mnist', or put the four IDX files into a folder and name it here or in ${DATA_VARIABLE}"
    )


def fashion_sample() -> ArrayImages:
    """The 10,000 test images with their labels, which ship with the package; each call's are its own."""
    bundled = _bundled()
    return ArrayImages(bundled.pixels.clone(), bundled.labels.clone(), bundled.class_names)


@functools.cache
def _bundled() -> ArrayImages:
    """Unpacked once for each process, which takes longer than all that is done with a few of them."""
    with resources.as_file(resources.files("bitmosaic.images") / "fashion_mnist") as folder:
        return fashion_mnist(folder, "test")


def _places(folder: str | os.PathLike | None) -> list[Path]:
    """Where to look: in the given folder alone, or in the usual places."""
    root = os.environ.get(DATA_VARIABLE) if folder is None else folder
    named = [] if not root else [Path(root).expanduser(), Path(root).expanduser() / "fashion-mnist"]
    return named + ([DEBIAN_FOLDER] if folder is None else [])


def _find(place: Path, name: str) -> Path | None:
    return next((path for path in (place / name, place / f"{name}.gz") if path.is_file()), None)


def _load(images: Path, labels: Path) -> ArrayImages:
    pixels, numbers = read_idx(images), read_idx(labels)
    if pixels.dim() != 3 or numbers.dim() != 1 or len(pixels) != len(numbers):
        raise ValueError(
            f"folder: {images} has shape {tuple(pixels.shape)} and {labels} {tuple(numbers.shape)}; "
            "they should be (n, height, width) and (n,), so one of them is not Fashion-MNIST's; download them again"
        )
    return ArrayImages(pixels[:, None], numbers, FASHION_CLASSES)
