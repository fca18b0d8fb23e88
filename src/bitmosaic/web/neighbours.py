"""The nearest bundled images by codes and by features: all are encoded once, while the model is idle, and cached."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bitmosaic.images import ArrayImages, Fit, fitted, read_image
from bitmosaic.pipelines import TwoStagePipeline
from bitmosaic.search.vectors import VectorSpec, features
from bitmosaic.web.errands import next_size
from bitmosaic.web.guest import CodesGuest
from bitmosaic.web.job import ClientGone
from bitmosaic.web.kept import DiskCache
from bitmosaic.web.limits import RequestError
from bitmosaic.web.pictures import as_text, encoded

LOG = logging.getLogger("bitmosaic.studio")
BY = VectorSpec("features")
MOST = 64  # images of one call in the model's thread
FILE = 1000  # images of one cache file
PATIENCE = 3.0  # seconds that a request waits for all images to be encoded before it is answered from those that are


class Bundle:
    """Vectors of the bundled images, which are encoded in the background from the first request on."""

    def __init__(self, guest: CodesGuest, name: str, images: ArrayImages, kept: DiskCache, wake: Callable[[], None]):
        """guest: whose job is background work; name: of the set; wake: called when there is something to encode."""
        self._guest, self._name, self._images, self._kept, self._wake = guest, name, images, kept, wake
        self._vectors: tuple[np.ndarray, np.ndarray] | None = None  # digits (n, places k) and features (n, D), the first `_done` rows valid
        self._done, self._size, self._asked, self._broken = 0, 8, False, False
        self._change = threading.Condition()

    def nearest(self, guest: CodesGuest, image: Any, count: int, by: str, fit: Fit = "exact") -> dict[str, Any]:
        """The `count` nearest of the images encoded so far, and how many these are; an identical image is named and left out.

        image, fit: as `Pipeline` takes them. by: "codes" (Hamming distance of digits) or "features" (squared Euclidean distance of unit
        vectors). RequestError (503) where encoding failed.
        """
        pixels = fitted(image, guest.image_size, guest.channels, fit, guest.background)
        code, feature = guest.apart(lambda host: _vectors(host, pixels[None]))
        codes, seen = self._seen(guest)
        if by == "codes":
            distance = (codes != code).sum(1).astype(float)  # of digits, so of bits in a binary code
        else:
            distance = ((seen - feature) ** 2).sum(1).astype(float)
        itself = self._itself(image)
        nearest = [int(i) for i in np.argsort(distance, kind="stable")[: count + 1] if i != itself][:count]
        told = {"by": by, "total": len(codes), "of": len(self._images), "itself": None if itself is None else f"{self._name}:{itself}"}
        return {**told, "neighbours": [self._told(i, distance[i]) for i in nearest]}

    def _itself(self, image: Any) -> int | None:
        """The number of the first bundled image with exactly these pixels; None where there is none."""
        pixels, own = read_image(image, None, self._images.channels), self._images.pixels
        if pixels.shape != own.shape[1:]:
            return None
        found = (own == pixels).flatten(1).all(1).nonzero()
        return int(found[0]) if len(found) else None

    def _seen(self, guest: CodesGuest) -> tuple[np.ndarray, np.ndarray]:
        with self._change:
            self._asked, self._broken = True, False
        self._wake()
        with self._change:
            self._change.wait_for(lambda: self._broken or self._done == len(self._images), min(PATIENCE, guest.job.left()))
            while not (self._done or self._broken):
                self._change.wait(min(1.0, guest.job.left()))
            if not self._done:
                raise RequestError(503, "the bundled images could not be encoded; the service's log says why; try again later")
            return tuple(vectors[: self._done] for vectors in self._vectors)

    def look(self) -> bool:
        """Encodes some more images; False where none are left, or no request has asked for neighbours."""
        if not self._asked or self._done == len(self._images):
            return False
        try:
            if self._done % FILE == 0 and (found := self._read()) is not None:
                self._add(*found)
                return True
            end = min(self._done + self._size, self._done - self._done % FILE + FILE)
            size, channels = self._guest.image_size, self._guest.channels
            part = torch.stack([read_image(image, size, channels) for image in self._images.pixels[self._done : end]])
            self._add(*self._guest.apart(lambda host: self._timed(host, part)))
            self._write()
        except Exception as error:  # the service is shutting down, or the model broke; the next request tries again
            if not isinstance(error, ClientGone | RequestError):
                LOG.error("the bundled images could not be encoded", exc_info=error)
            with self._change:
                self._asked, self._broken = False, True
                self._change.notify_all()
            return False
        return True

    def _timed(self, host: TwoStagePipeline, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        start = time.perf_counter()
        found = _vectors(host, pixels)
        self._size = next_size(len(pixels), time.perf_counter() - start, MOST)
        return found

    def _add(self, *vectors: np.ndarray) -> None:
        with self._change:
            if self._vectors is None:
                self._vectors = tuple(np.empty((len(self._images), found.shape[1]), found.dtype) for found in vectors)
            for all_, found in zip(self._vectors, vectors, strict=True):
                all_[self._done : self._done + len(found)] = found
            self._done += len(vectors[0])
            self._change.notify_all()

    def _read(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The vectors of the next cache file; None where there is none, or it does not fit."""
        data = self._kept.read(f"bundle-{self._done // FILE}")
        try:
            found = None if data is None else load(data)
        except SafetensorError:  # not written by us
            return None
        count = min(FILE, len(self._images) - self._done)
        if found is None or found.keys() != {"codes", "features"} or any(len(vectors) != count for vectors in found.values()):
            return None
        return found["codes"], found["features"]

    def _write(self) -> None:
        """Writes the cache file that has just become full, if one has."""
        if self._done % FILE == 0 or self._done == len(self._images):
            start = (self._done - 1) // FILE * FILE
            codes, seen = (np.ascontiguousarray(vectors[start : self._done]) for vectors in self._vectors)
            self._kept.write(f"bundle-{start // FILE}", save({"codes": codes, "features": seen}))

    def _told(self, number: int, distance: float) -> dict[str, Any]:
        label = self._images.class_names[int(self._images.labels[number])]
        picture = as_text(encoded(self._images.pixels[number]))
        return {"name": f"{self._name}:{number}", "class": label, "distance": round(float(distance), 4), "image": picture}


def _vectors(pipe: TwoStagePipeline, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Digits (n, places k) and features of unit length (n, D) of images, uint8 (n, C, H, W)."""
    codes = pipe.encode_pixels(pixels.float() / 255)
    found = features(pipe, codes, BY)
    return codes.flat().flatten(1).cpu().numpy(), found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
