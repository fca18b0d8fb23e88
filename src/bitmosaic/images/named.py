"""Sets of real images by name: those that ship with the package, and those that are read from where another package puts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .base import ArrayImages, ImageSet
from .fashion import fashion_mnist, fashion_sample
from .landscapes import Landscapes, landscapes_sample


@dataclass(frozen=True)
class NamedSet:
    """A named set of real images."""

    about: str  # what it is, in a few words
    load: Callable[[], ImageSet]
    test: str = ""  # name of the set of other images of the same classes, to test on


NAMED_SETS = {
    "fashion-mnist": NamedSet("the 10,000 test images of Fashion-MNIST, which ship", fashion_sample),
    "fashion-mnist:train": NamedSet("its 60,000 training images", fashion_mnist, "fashion-mnist"),
    "landscapes": NamedSet("252 crops of 21 photographs of landscapes, which ship", landscapes_sample),
    "landscapes:train": NamedSet("crops of 128 others", Landscapes, "landscapes"),
}
SHIPPED_SETS = {"fashion": fashion_sample, "landscapes": landscapes_sample}  # by what one image of them is called, as in fashion:17
SET_OF = {"fashion": "fashion-mnist", "landscapes": "landscapes"}  # and the set's own name


def shipped_name(size: tuple[int, int], channels: int) -> str:
    """Which of the sets that ship suits images of `size` (height, width) and so many channels best, by its name in SHIPPED_SETS."""
    sets = {name: load() for name, load in SHIPPED_SETS.items()}
    exact = (name for name, images in sets.items() if (images.size, images.channels) == (tuple(size), channels))
    return next(exact, "landscapes" if channels == 3 else "fashion")


def shipped_image(text: str, argument: str = "image") -> Tensor | None:
    """An image that ships, uint8 (C, H, W), by its name, such as fashion:17; None where `text` is no such name.

    ValueError where there is none of that number, which names the argument.
    """
    name, colon, number = text.partition(":")
    if not colon or name not in SHIPPED_SETS or Path(text).exists():
        return None
    images: ArrayImages = SHIPPED_SETS[name]()
    if not (number.isascii() and number.isdecimal() and len(number) < 10 and int(number) < len(images)):
        raise ValueError(f"{argument}: got {text!r}; give a path, or a test image that ships from {name}:0 to {name}:{len(images) - 1}")
    return images.pixels[int(number)]
