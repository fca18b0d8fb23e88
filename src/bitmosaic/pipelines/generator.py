"""GeneratorPipeline: pictures in one pass of a generator from noise and a class, without codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from bitmosaic.folders import load_part, save_part, write_json
from bitmosaic.generators import Generator
from bitmosaic.images.read import as_colour
from bitmosaic.pipelines import conditions as given
from bitmosaic.pipelines.protocol import OnStep, Pipeline, check_config
from bitmosaic.pipelines.settings import changed
from bitmosaic.samplers.settings import check_settings
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors


@dataclass(frozen=True)
class NoiseSpec(Spec):
    """Settings of a generator's noise."""

    truncation: float = 1.0  # factor of the noise: 1 as in training, less is less varied, 0 makes all pictures of a class alike

    def __post_init__(self):
        check_settings(self)


class GeneratorPipeline(Pipeline, saved_as=("GeneratorPipeline",)):
    """A generator, and the names of its classes. Without a condition the class is drawn by the seed."""

    part_names = ("generator",)

    def __init__(self, generator: Generator, noise: NoiseSpec | None = None, class_names: Sequence[str] = (), background: str = "white"):
        as_colour(background)
        share_processors()
        if class_names and len(class_names) != generator.classes:
            raise ValueError(f"class_names: got {len(class_names)} names for a generator of {generator.classes} classes")
        self.generator, self.noise, self.background = generator.eval(), noise or NoiseSpec(), background
        self.class_names = tuple(class_names) or tuple(str(i) for i in range(generator.classes))

    @classmethod
    def read(cls, folder: Path, config: dict[str, Any], dtype: torch.dtype | None, network: torch.dtype | None) -> Self:
        names, background = check_config(folder / "config.json", config, {"noise"})
        noise = Spec.from_json(config["noise"], f"{folder / 'config.json'}: noise")
        if not isinstance(noise, NoiseSpec):
            raise ValueError(f"{folder / 'config.json'}: noise must be a NoiseSpec")
        return cls(load_part(folder / "generator", Generator, network), noise, names, background)

    def write(self, folder: Path, dtype: torch.dtype | None) -> None:
        save_part(self.generator, self.generator.spec, folder / "generator", dtype)
        config = {"type": self.saved_as, "class_names": list(self.class_names), "noise": self.noise.to_json()}
        write_json(folder / "config.json", config if self.background == "white" else {**config, "background": self.background})

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.generator.spec.image_size)

    @property
    def channels(self) -> int:
        return self.generator.spec.channels

    def settings(self, **changes) -> NoiseSpec:
        """Its settings with those fields changed that are not None. ValueError names one that it does not have, such as guidance_scale."""
        return changed(self.noise, changes)

    def draw(self, conditions: list, seeds: list[int], settings: NoiseSpec, on_step: OnStep = None) -> Tensor:
        pictures = torch.empty(len(seeds), self.channels, *self.image_size, device=self.device)
        free = [i for i, condition in enumerate(conditions) if condition is None]
        for some in (free, [i for i in range(len(seeds)) if i not in set(free)]):
            if some:
                rngs = given.generators([seeds[i] for i in some], self.device)
                labels = self.labels([conditions[i] for i in some])
                pictures[some] = self.generator.sample(rngs, labels, settings.truncation).float()
        return pictures
