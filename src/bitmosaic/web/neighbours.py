"""The nearest bundled images by codes and by features: the bundle is looked through once, in parts between requests."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import torch

from bitmosaic.images import ArrayImages, read_image
from bitmosaic.pipeline import Pipeline
from bitmosaic.search.vectors import VectorSpec, features
from bitmosaic.web.guest import Guest
from bitmosaic.web.job import Job
from bitmosaic.web.limits import Refused
from bitmosaic.web.model import Model
from bitmosaic.web.pictures import as_text, encoded

LOG = logging.getLogger("bitmosaic.studio")
PART = 50  # images in one turn of the model's thread
FOREVER = 1e8  # seconds; more than a lock can wait are an error
PATIENCE = 3.0  # seconds that a request waits for the rest of the bundle, before it is answered from what there is


class Bundle:
    """Vectors of the bundled images, as far as they have been looked at; the first request begins."""

    def __init__(self, pipeline: Pipeline, name: str, model: Model, images: ArrayImages):
        self._guest, self._images = Guest(pipeline, name, model, Job(FOREVER, 0)), images
        self._codes: list[np.ndarray] = []
        self._features: list[np.ndarray] = []
        self._change, self._thread = threading.Condition(), None

    def nearest(self, guest: Guest, image: Any, count: int, by: str) -> dict[str, Any]:
        """The nearest of those looked at so far, and how many these are. `image`: as `Pipeline` takes it."""
        pixels = read_image(image, guest.tokenizer.image_size, guest.tokenizer.channels)
        code, feature = _vectors(guest, pixels[None])
        codes, seen = self._seen(guest)
        if by == "codes":
            distance = (codes != code).sum(1).astype(float)  # of digits, so of bits in a binary code
        else:
            distance = ((seen - feature) ** 2).sum(1).astype(float)
        nearest = np.argsort(distance, kind="stable")[:count]
        return {"by": by, "total": len(codes), "of": len(self._images), "neighbours": [self._told(int(i), distance[i]) for i in nearest]}

    def _seen(self, guest: Guest) -> tuple[np.ndarray, np.ndarray]:
        with self._change:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="bundle", daemon=True)
                self._thread.start()
            wanted = -(-len(self._images) // PART)
            self._change.wait_for(lambda: len(self._codes) >= wanted, min(PATIENCE, guest.job.left()))
            while not self._codes and self._thread is not None:
                self._change.wait(min(1.0, guest.job.left()))
            if not self._codes:
                raise Refused(503, "the bundled images could not be looked at; the log says why; try again later")
            return np.concatenate(self._codes), np.concatenate(self._features)

    def _look(self) -> None:
        try:
            for start in range(0, len(self._images), PART):
                size, channels = self._guest.tokenizer.image_size, self._guest.tokenizer.channels
                part = [read_image(image, size, channels) for image in self._images.pixels[start : start + PART]]
                codes, found = _vectors(self._guest, torch.stack(part))
                with self._change:
                    self._codes.append(codes)
                    self._features.append(found)
                    self._change.notify_all()
        except Exception as error:  # the service is shutting down, or the model broke; the next request tries again
            if not isinstance(error, Refused):
                LOG.error("the bundled images could not be looked at", exc_info=error)
            with self._change:
                self._codes, self._features, self._thread = [], [], None
                self._change.notify_all()

    def _told(self, number: int, distance: float) -> dict[str, Any]:
        label = self._images.class_names[int(self._images.labels[number])]
        picture = as_text(encoded(self._images.pixels[number]))
        return {"name": f"fashion:{number}", "class": label, "distance": round(float(distance), 4), "image": picture}


def _vectors(guest: Guest, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Digits (n, places k) and features of unit length (n, D) of images, uint8 (n, C, H, W)."""
    codes = guest._codes(pixels.float() / 255)
    found = features(guest, codes, VectorSpec("features"))
    return codes.flat().flatten(1).cpu().numpy(), found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
