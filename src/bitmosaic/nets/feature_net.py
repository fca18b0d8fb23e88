"""Feature networks: a small residual classifier of our own, or any network in a local file.

The classifier serves as perceptual distance (its maps), as space for Frechet distances (its embedding) and as judge of classes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.nets.llama import dropout
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class ConvClassifierSpec(Spec):
    """A residual network with batch normalisation that halves the sides at each level."""

    channels: int = 3  # of the image
    classes: int = 2
    widths: tuple[int, ...] = (8, 16)  # channels at each level
    dropout: float = 0.0  # before the last layer

    def __post_init__(self):
        if min(self.channels, self.classes, *self.widths, len(self.widths)) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("channels, classes and widths must be positive, dropout in [0, 1)")

    def build(self) -> ConvClassifier:
        return ConvClassifier(self)


class ConvClassifier(nn.Module):
    """Images (b, channels, H, W) in [0, 1] -> class logits; `maps` and `embed` are what it is kept for."""

    def __init__(self, spec: ConvClassifierSpec):
        super().__init__()
        self.spec, self.levels = spec, nn.ModuleList()
        inside = spec.channels
        for level, width in enumerate(spec.widths):
            self.levels.append(_Level(inside, width, stride=2 if level else 1))
            inside = width
        self.features = inside
        self.out = nn.Linear(inside, spec.classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The activations of each level, [(b, width_i, H / 2^i, W / 2^i)]."""
        h, maps = images * 2 - 1, []
        for level in self.levels:
            h = level(h)
            maps.append(h)
        return maps

    def embed(self, images: Tensor) -> Tensor:
        """The pooled last level, (b, widths[-1])."""
        return self.maps(images)[-1].mean((2, 3))

    def forward(self, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Class logits (b, classes); `rng` None: no dropout."""
        return self.out(dropout(self.embed(images), self.spec.dropout, rng))


class _Level(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.norm2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv3, self.norm3 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        h = F.relu(self.norm2(self.conv2(x)))
        return F.relu(x + self.norm3(self.conv3(h)))


class ExportedMaps(nn.Module):
    """A network saved with torch.export: images (b, c, H, W) in [0, 1] -> one tensor or a list of tensors."""

    def __init__(self, program: torch.export.ExportedProgram):
        super().__init__()
        self.program = program.module()

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the network returns, as a list."""
        out = self.program(images)
        return [out] if isinstance(out, Tensor) else list(out)


def save_feature_net(net: ConvClassifier, path: Path) -> None:
    """One .safetensors file with the weights, and the spec in its metadata; written beside and renamed."""
    from safetensors.torch import save_file

    beside = path.with_name(path.name + ".new")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, beside, {"spec": json.dumps(net.spec.to_json())})
    beside.rename(path)


def load_feature_net(path: str | Path) -> nn.Module:
    """A frozen network with `maps(images)` from a local file.

    `.safetensors` with a spec in its metadata (as `save_feature_net` writes), or `.pt2` (torch.export) whose forward takes images in
    [0, 1] and returns feature maps. Raises ValueError for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"feature net: {path} is not a file")
    try:
        net = ExportedMaps(torch.export.load(path)) if path.suffix == ".pt2" else _load_safetensors(path)
    except Exception as error:
        raise ValueError(f"feature net {path}: {error}; want a .safetensors file with a spec in its metadata, or a .pt2 file") from error
    return net.requires_grad_(False)


def _load_safetensors(path: Path) -> nn.Module:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        net = Spec.from_json(json.loads((file.metadata() or {})["spec"]), "spec").build()
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})
    return net.eval()
