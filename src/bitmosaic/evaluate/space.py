"""A feature space: a frozen network with its checksum, and the features that evaluation takes from it.

A Frechet distance is a FID only in the space of Inception-v3 with the published weights, on images enlarged as TensorFlow 1 did; in any
other space it is called a Frechet distance, and is comparable within that space only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitmosaic.evaluate.frechet import WIDEST
from bitmosaic.evaluate.parallel import everywhere
from bitmosaic.losses.reconstruction import perceptual
from bitmosaic.nets.feature_net import ConvClassifier, load_feature_net
from bitmosaic.nets.inception import REFERENCE, SIDE, InceptionV3
from bitmosaic.nets.precision import whole_float32

SPATIAL = 2048  # width of spatial features at most, about that of Inception's
# classifiers in the package, by the data set that they were trained on; benchmarks measure by another one, and benchmarks/judge.py says why
SHIPPED = {"fashion-mnist": "fashion"}


@dataclass(frozen=True)
class Features:
    """A network's features of n images, float32 on the CPU."""

    pooled: Tensor  # (n, d)
    spatial: Tensor | None  # (n, s), None where the network gives no maps
    logits: Tensor | None  # (n, classes), None where it is no classifier

    @staticmethod
    def join(parts: list[Features]) -> Features:
        """Features of several batches as one."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(Features)]
        return Features(*(None if column[0] is None else torch.cat(column) for column in columns))

    def __getitem__(self, some: slice) -> Features:
        return Features(*(None if (x := getattr(self, field.name)) is None else x[some] for field in fields(Features)))


class FeatureSpace:
    """A frozen network, from a file or one that ships.

    A network of your own, from `load_feature_net`, may have `embed(images)` -> (b, d); `maps(images)` -> a list of maps (b, c, h, w) or
    features (b, d), of which the last is used; and `logits(images)` -> (b, classes). images: floats in [0, 1], (b, C, H, W).
    """

    def __init__(self, net: nn.Module, name: str, checksum: str):
        self.net, self.name, self.checksum = net, name, checksum
        self.class_names: tuple[str, ...] | None = getattr(net, "class_names", None)  # where the file names them
        self.inception = isinstance(net, InceptionV3)
        self.fid = self.inception and checksum.startswith(REFERENCE)

    @staticmethod
    def load(name: str | Path, device: str = "cpu") -> FeatureSpace:
        """From a file as `load_feature_net` reads, or "fashion", the classifier that ships. ValueError for anything else."""
        ships = str(name) in SHIPPED.values() and not Path(name).is_file()
        path = Path(str(resources.files("bitmosaic") / "zoo" / "features" / f"{name}.safetensors")) if ships else name
        net, code = load_feature_net(path), ".py:" in str(path)
        file = Path(str(path).partition(".py:")[0] + ".py" if code else path)
        digest = hashlib.sha256(file.read_bytes())
        for tensor in net.state_dict().values() if code else ():  # code may draw its weights, differently in each process
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        space = FeatureSpace(net.to(device), str(name) if ships else file.name, digest.hexdigest())
        if len(set(everywhere(space.checksum))) > 1:
            raise ValueError(f"feature net {space.name}: other weights in each process; let the file read its weights, or seed them")
        return space

    @whole_float32()
    def measure(self, images: Tensor) -> Features:
        """Features of uint8 images (b, C, H, W). ValueError where the network fails on them, or gives other shapes or values that are not
        finite.
        """
        at = next(self.net.parameters(), next(self.net.buffers(), torch.zeros(())))
        images = images.to(at.device)
        try:
            pooled, spatial, logits = self._inception(images) if self.inception else self._other(images.float() / 255)
        except (RuntimeError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            raise ValueError(f"feature net {self.name}: fails on images {tuple(images.shape[1:])} ({why})") from error
        for what, x in (("features", pooled), ("spatial features", spatial), ("logits", logits)):
            if x is not None and (x.ndim != 2 or len(x) != len(images) or not x.isfinite().all()):
                raise ValueError(f"feature net {self.name}: {what} {tuple(x.shape)} should be finite, ({len(images)}, d)")
        if pooled.shape[1] > WIDEST:
            raise ValueError(f"feature net {self.name}: features {pooled.shape[1]} wide; give a network with {WIDEST} at most")
        return Features(*(None if x is None else x.float().cpu() for x in (pooled, spatial, logits)))

    @whole_float32()
    def perceptual(self, given: Tensor, made: Tensor) -> Tensor | None:
        """The perceptual distance of uint8 images (b, C, H, W) from others, a scalar, their mean; None where the network gives no maps."""
        if not hasattr(self.net, "maps"):
            return None
        at = next(self.net.parameters(), next(self.net.buffers(), torch.zeros(())))
        try:
            found = perceptual(self.net, *(images.to(at.device).float() / 255 for images in (given, made)))
        except (RuntimeError, TypeError, IndexError) as error:  # maps that are no maps
            why = " ".join(str(error).split())[:200]
            raise ValueError(f"feature net {self.name}: no perceptual distance by its maps ({why})") from error
        return found.double().cpu()

    def _inception(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.net(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)

    def _other(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        maps = self.net.maps(images) if hasattr(self.net, "maps") else []
        if isinstance(self.net, ConvClassifier):
            pooled = maps[-1].mean((2, 3))
            return pooled, _spatial(maps[:-1] or maps), self.net.out(pooled)
        pooled = self.net.embed(images) if hasattr(self.net, "embed") else maps[-1]
        pooled = pooled.mean((2, 3)) if pooled.ndim == 4 else pooled
        return pooled, _spatial(maps), self.net.logits(images) if hasattr(self.net, "logits") else None

    def about(self) -> dict[str, Any]:
        """Everything that a figure in this space depends on, as plain values."""
        preprocessing = f"repeated to 3 channels where grey, bilinear to {SIDE} as TensorFlow 1, (x - 128) / 128"
        return {
            "name": self.name, "sha256": self.checksum, "reference_inception": self.fid,
            "trained_on": getattr(self.net, "trained_on", None), "class_names": self.class_names,
            "preprocessing": preprocessing if self.inception else "x / 255, size unchanged",
        }  # fmt: skip

    def word(self, inception: str, other: str) -> str:
        """The name of a figure: `inception` in Inception's space, else `other`."""
        return inception if self.fid else other


def _spatial(maps: list[Tensor]) -> Tensor | None:
    """The first channels of the last spatial map, flattened: (b, s) with s <= SPATIAL; None where there is no such map."""
    placed = [m for m in maps if m.ndim == 4 and 1 < m.shape[2] * m.shape[3] <= SPATIAL]
    return placed[-1][:, : SPATIAL // (placed[-1].shape[2] * placed[-1].shape[3])].flatten(1) if placed else None
