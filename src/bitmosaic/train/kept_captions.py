"""Captions stored beside codes: the concatenated bytes of all, and the end of each; memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bitmosaic.folders import read_array

FILES = ("captions.npy", "captions-ends.npy")  # bytes (sum,) uint8 of UTF-8, ends (images,) int64


class KeptCaptions:
    """Captions by the number of an image, "" where it has none."""

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self.text, self.ends = text, ends

    @staticmethod
    def write(captions: Sequence[str], folder: Path) -> None:
        """Two files in a folder."""
        encoded = [caption.encode("utf-8", "surrogatepass") for caption in captions]
        np.save(folder / FILES[0], np.frombuffer(b"".join(encoded), np.uint8))
        np.save(folder / FILES[1], np.cumsum([len(one) for one in encoded], dtype=np.int64))

    @staticmethod
    def read(folder: Path, images: int) -> KeptCaptions:
        """ValueError where the files do not hold captions of so many images."""
        text, ends = read_array(folder / FILES[0], 1, np.uint8), read_array(folder / FILES[1], 1, np.int64)
        rising = len(ends) == images and (not images or (ends[0] >= 0 and bool((np.diff(ends) >= 0).all()) and ends[-1] == len(text)))
        if not rising:
            raise ValueError(f"{folder / FILES[1]}: does not say where the captions of {images} images end")
        return KeptCaptions(text, ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: Sequence[int]) -> list[str]:
        """Those of some images."""
        starts = [int(self.ends[row - 1]) if row else 0 for row in rows]
        pieces = [bytes(self.text[start : int(self.ends[row])]) for start, row in zip(starts, rows, strict=True)]
        return [piece.decode("utf-8", "surrogatepass") for piece in pieces]
