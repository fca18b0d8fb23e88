"""A pipeline without codes, as small as one can be: noise and a class to pixels by one linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bitmosaic.folders import load_part, save_part, write_json
from bitmosaic.pipelines import Pipeline
from bitmosaic.pipelines.conditions import generators
from bitmosaic.pipelines.protocol import OnStep, check_config
from bitmosaic.pipelines.settings import changed
from bitmosaic.spec import Spec


@dataclass(frozen=True)
class TinyDrawerSpec(Spec):
    """Noise (b, 4) and classes -> pixels."""

    image_size: tuple[int, int] = (28, 28)
    channels: int = 1
    classes: int = 10

    def build(self) -> TinyDrawer:
        return TinyDrawer(self)


class TinyDrawer(nn.Module):
    """One linear layer; the last row of the table is the null class."""

    def __init__(self, spec: TinyDrawerSpec):
        super().__init__()
        self.spec = spec
        self.table = nn.Parameter(torch.randn(spec.classes + 1, 8))
        self.layer = nn.Linear(12, spec.channels * spec.image_size[0] * spec.image_size[1])

    def forward(self, z: Tensor, weights: Tensor) -> Tensor:
        """z (b, 4), weights (b, classes + 1) -> (b, C, H, W) in [0, 1]."""
        told = torch.cat([z, weights.to(z.dtype) @ self.table], 1)
        return torch.stack([self.layer(one) for one in told]).sigmoid().unflatten(1, (self.spec.channels, *self.spec.image_size))


@dataclass(frozen=True)
class TruncationSpec(Spec):
    """How it draws."""

    truncation: float = 1.0  # of the noise: 0 is none


class DrawingPipeline(Pipeline, saved_as=("DrawingPipeline",)):
    """Classes and seeds -> pictures, at once."""

    part_names = ("drawer",)

    def __init__(self, drawer: TinyDrawer, sampler: TruncationSpec = TruncationSpec(), class_names: tuple[str, ...] = ()):  # noqa: B008
        self.drawer, self.sampler = drawer.eval(), sampler
        self.class_names = class_names or tuple(str(i) for i in range(drawer.spec.classes))

    @property
    def size(self) -> tuple[int, int]:
        return self.drawer.spec.image_size

    @property
    def channels(self) -> int:
        return self.drawer.spec.channels

    def settings(self, **changes) -> TruncationSpec:
        return changed(self.sampler, changes)

    @torch.no_grad()
    def draw(self, conditions: list, seeds: list[int], settings: TruncationSpec, on_step: OnStep = None) -> Tensor:
        dtype, told, null = self.drawer.table.dtype, self.labels(conditions), len(self.class_names)
        z = torch.stack([torch.randn(4, generator=rng, device=self.device) for rng in generators(seeds, self.device)])
        labels = torch.full((len(seeds),), null, device=self.device) if told is None else getattr(told, "labels", None)
        weights = told.weights if labels is None else nn.functional.one_hot(labels, null + 1)
        return self.drawer((settings.truncation * z).to(dtype), weights.float()).float()

    @classmethod
    def read(cls, folder: Path, config: dict[str, Any], dtype: torch.dtype | None, network: torch.dtype | None) -> Self:
        names, background = check_config(folder / "config.json", config, {"sampler"})
        made = cls(load_part(folder / "drawer", TinyDrawer, network), Spec.from_json(config["sampler"]), tuple(names))
        made.background = background
        return made

    def write(self, folder: Path, dtype: torch.dtype | None) -> None:
        save_part(self.drawer, self.drawer.spec, folder / "drawer", dtype)
        config = {"type": self.saved_as, "class_names": [*self.class_names], "sampler": self.sampler.to_json()}
        write_json(folder / "config.json", config if self.background == "white" else {**config, "background": self.background})


def drawing_pipeline(classes: int = 10, names: tuple[str, ...] = (), seed: int = 0) -> DrawingPipeline:
    """An untrained one of 28 x 28 grey pixels."""
    torch.manual_seed(seed)
    return DrawingPipeline(TinyDrawerSpec(classes=classes).build(), class_names=names)
