"""Feature networks: a small residual classifier of our own, Inception-v3, or any network in a local file.

The classifier serves for a perceptual loss (its maps), Frechet distances (its embedding) and class agreement (its logits).
"""

from __future__ import annotations

import json
import runpy
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitmosaic.disk import whole_file
from bitmosaic.folders import build_empty, check_archive, check_tensors, parse_json
from bitmosaic.nets.inception import InceptionV3
from bitmosaic.nets.llama import dropout
from bitmosaic.spec import Spec, later


@dataclass(frozen=True)
class ConvClassifierSpec(Spec):
    """A residual network with batch normalisation that halves the sides at each level."""

    channels: int = 3  # of the image
    classes: int = 2
    widths: tuple[int, ...] = (8, 16)  # channels at each level
    dropout: float = 0.0  # before the last layer
    stride: int = later(1, lambda _: 1)  # of the first level; those after it halve the sides

    def __post_init__(self):
        if min(self.channels, self.classes, self.stride, *self.widths, len(self.widths)) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("channels, classes, stride and widths must be positive, dropout in [0, 1)")

    def build(self) -> ConvClassifier:
        return ConvClassifier(self)


class ConvClassifier(nn.Module):
    """Images (b, channels, H, W) in [0, 1] -> class logits, with the activations of its levels (`maps`) and an embedding (`embed`)."""

    def __init__(self, spec: ConvClassifierSpec):
        super().__init__()
        self.spec, self.levels = spec, nn.ModuleList()
        inside = spec.channels
        for level, width in enumerate(spec.widths):
            self.levels.append(_Level(inside, width, stride=2 if level else spec.stride))
            inside = width
        self.features = inside
        self.out = nn.Linear(inside, spec.classes)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The activations of each level, [(b, width_i, H / (stride 2^i), W / (stride 2^i))]."""
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


class Maps(nn.Module):
    """Wraps any network from images (b, c, H, W) in [0, 1] to a tensor or a list of tensors."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def maps(self, images: Tensor) -> list[Tensor]:
        """What the network returns, as a list."""
        out = self.net(images)
        return [out] if isinstance(out, Tensor) else list(out)


def save_feature_net(net: ConvClassifier, path: Path, **about: str) -> None:
    """Writes one .safetensors file with the weights, the spec and the texts `about` it in the metadata; whole or not at all."""
    from safetensors.torch import save_file

    with whole_file(path) as beside:
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, beside, {"spec": json.dumps(net.spec.to_json()), **about})


def load_feature_net(path: str | Path) -> nn.Module:
    """A frozen network from a local file, in evaluation mode; all but Inception have `maps(images)`.

    `.safetensors` with a spec in its metadata (as `save_feature_net` writes); `.pt2` (torch.export) or `.pt` (TorchScript) whose forward
    takes images in [0, 1] and returns feature maps or features; `.pth` with the published weights of Inception-v3; or
    `FILE.py:NAME`, a torch module, or a function that makes one, in a file of your own, which is run. Raises ValueError for
    anything else.
    """
    file, _, name = str(path).partition(".py:")
    path = Path(f"{file}.py") if name else Path(path)
    if not path.is_file():
        raise ValueError(f"feature net: {path} is not a file")
    try:
        if not name and path.suffix in (".pt", ".pth") and zipfile.is_zipfile(path):
            check_archive(path, packed=path.suffix == ".pt")  # TorchScript compresses its code
        if name:
            net = _from_code(path, name)
        elif path.suffix == ".pth":
            net = _load_inception(path)
        elif path.suffix == ".pt2":
            net = Maps(torch.export.load(path).module())
        else:
            net = _from_script(path) if path.suffix == ".pt" else _load_safetensors(path)
    except Exception as error:
        raise ValueError(
            f"feature net {path}: {_short(error)}; want .safetensors with a spec in its metadata, .pt2, .pt (TorchScript), "
            "Inception's .pth, or FILE.py:NAME"
        ) from error
    for module in net.modules():
        module.training = False  # not eval(), which exported networks refuse
    return net.requires_grad_(False)


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _load_safetensors(path: Path) -> nn.Module:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        spec = Spec.from_json(parse_json(about["spec"]), "spec")
        net = build_empty(spec, ConvClassifier, len(file.keys()), "spec")
        net.trained_on = about.get("trained_on")  # the fingerprint of the images, as `train_features` stores it
        net.class_names = tuple(parse_json(about["class_names"])) if "class_names" in about else None
        check_tensors("spec", {k: tuple(v.shape) for k, v in net.state_dict().items()},
                      {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()})  # fmt: skip
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()}, assign=True)
    return net


def _load_inception(path: Path) -> nn.Module:
    weights = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        net = InceptionV3()
    net.load_state_dict(weights, assign=True)
    return net


def _from_script(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated, but such files are common
        return Maps(torch.jit.load(path, map_location="cpu"))


def _from_code(path: Path, name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # code that draws weights shall draw the same ones each time
        found = runpy.run_path(str(path)).get(name)
        net = found if isinstance(found, nn.Module) else found() if callable(found) else None
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name} is {type(found).__name__}, not a torch module nor a function that makes one")
    return net if hasattr(net, "maps") or hasattr(net, "embed") else Maps(net)
