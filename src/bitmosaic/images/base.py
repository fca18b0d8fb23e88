"""The base class of data sets: indexed images, or signals of another medium, of one size, with or without classes and captions."""

import abc
import hashlib
from typing import Any

import torch
from torch import Tensor

from bitmosaic.names import plain


class ImagesGone(ValueError):
    """Images that were there when the set was opened are gone or damaged, or their disk fails; training must not go on without them."""

    def __init__(self, gone: int, of: int, first: str):
        many = "1 is" if gone == 1 else f"{gone:,} are"
        what = f"{many} gone, or cannot be reached or read any more, of {of:,} that were there at the start, such as {first}"
        super().__init__(plain(f"images: {what}"))
        self.gone, self.of = gone, of


class ImageSet(abc.ABC):
    """An indexed set of images of one size; signals of other media are called images here, too."""

    size: tuple[int, ...]            # height, width; of another medium its axes
    channels: int                    # 1 or 3
    stored: torch.dtype = torch.uint8  # dtype of an image's values
    medium: Any = None               # their `media.Medium`, where signals are not pictures
    labels: Tensor | None            # (n,) int64, None without classes
    class_names: tuple[str, ...]     # () without classes
    captions: tuple[str, ...] | None = None  # of each image, "" where it has none; None without captions
    unreadable: dict[str, str]       # path -> reason, filled as images are read

    @property
    def captioned(self) -> bool:
        """Whether its images have captions."""
        return self.captions is not None

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of images, unreadable ones included."""

    @abc.abstractmethod
    def image(self, index: int) -> Tensor | None:
        """Image number index in [0, n), uint8: (channels, height, width). None if unreadable. Do not write into it."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A hex digest that changes when the data changes."""

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Several images, uint8 (b, channels, height, width), and which were readable, bool (b,); the others are black.

        indices: (b,) integers in [0, n).
        """
        pixels = torch.zeros(len(indices), self.channels, *self.size, dtype=self.stored)
        readable = torch.zeros(len(indices), dtype=torch.bool)
        for place, index in enumerate(indices.tolist()):
            image = self.image(index)
            if image is not None:
                pixels[place], readable[place] = image, True
        return pixels, readable

    def check_there(self) -> None:  # noqa: B027, images in memory stay
        """ImagesGone unless all images that were there when the set was opened still are."""

    def summary(self) -> str:
        """How many images of which size, and of how many classes, in a few words."""
        return f"{len(self)} images of {self.size[0]} x {self.size[1]}, {len(self.class_names) or 'no'} classes"

    def told(self) -> list[str]:
        """Lines for people, before the work begins: what of a folder is used, as which classes, and what is not used, and why."""
        return []

    def unreadable_summary(self, at_most: int = 20) -> str:
        """One line on images that were skipped: how many, which and why. Empty if none were."""
        named = [f"{path} ({reason})" for path, reason in sorted(self.unreadable.items())]
        if not named:
            return ""
        more = f", and {len(named) - at_most} more" if len(named) > at_most else ""
        what = self.medium.plural if self.medium else "images"
        return plain(f"skipped {len(named)} unreadable of {len(self)} {what}: " + ", ".join(named[:at_most]) + more)


class ArrayImages(ImageSet):
    """Images held in one array: uint8 (n, channels, height, width).

    labels: integers (n,) in [0, number of classes), or None. class_names: one for each class; without them a class is
    called by its number. ValueError if these do not fit together.
    """

    def __init__(self, pixels: Tensor, labels: Tensor | None = None, class_names: tuple[str, ...] = ()):
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.numel() == 0 or pixels.shape[1] not in (1, 3):
            raise ValueError(
                f"pixels: got {pixels.dtype} {tuple(pixels.shape)}; "
                "give uint8 (n, channels, height, width) with n > 0 and 1 or 3 channels"
            )
        self.pixels, self.channels, self.size = pixels, pixels.shape[1], tuple(pixels.shape[2:])
        self.labels, self.class_names = _check_labels(len(pixels), labels, tuple(class_names))
        self.unreadable = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        return self.pixels[index]

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.pixels[indices], torch.ones(len(indices), dtype=torch.bool)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((tuple(self.pixels.shape), self.class_names)).encode())
        for part in (self.pixels, self.labels):
            digest.update(b"none" if part is None else part.contiguous().numpy())
        return digest.hexdigest()


def _check_labels(n: int, labels: Tensor | None, names: tuple[str, ...]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels as int64 with a name for each class, or ValueError."""
    if labels is None:
        if names:
            raise ValueError(f"class_names: got {len(names)} names without labels; give labels too, or neither")
        return None, ()
    if labels.shape != (n,) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels: got {labels.dtype} {tuple(labels.shape)}; give {n} integers, one for each image")
    labels = labels.to(torch.int64)
    low, high = int(labels.min()), int(labels.max())
    names = names or tuple(str(label) for label in range(high + 1))
    if low < 0 or high >= len(names):
        raise ValueError(f"labels: got {low} to {high}; with {len(names)} class names give values in [0, {len(names)})")
    return labels, names
