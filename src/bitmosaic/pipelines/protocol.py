"""What every pipeline is: conditions and seeds -> pictures, or signals of another medium.

A kind of pipeline is a subclass; `saved_as` enters it in the table by which `Pipeline.from_pretrained` opens folders. Functions over
pipelines (evaluation, the commands, the studio's Generate panel) ask for no more than stands here; those that need codes, such as
editing, ask for what `TwoStagePipeline` has besides.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from bitmosaic.conditions import ClassReader, ConditionReader, NoReader
from bitmosaic.conditions import Condition as Value
from bitmosaic.folders import read_json, written_beside
from bitmosaic.images.read import as_colour
from bitmosaic.media import PICTURES, Medium
from bitmosaic.nets.int8 import Int8Linear, quantize
from bitmosaic.nets.precision import has_bf16_products
from bitmosaic.pipelines import conditions as given
from bitmosaic.pipelines.conditions import Condition, Seeds
from bitmosaic.pipelines.zoo import find_pipeline
from bitmosaic.samplers import Step
from bitmosaic.spec import Spec

OnStep = Callable[[Step], None] | None


class Pipeline(abc.ABC):
    """Conditions and seeds -> pictures, with the names of diffusers where it has them.

    `condition` is a class (its number or name), a blend {class: weight}, a prompt where captions were learned from, None for nothing, or
    several of these, one an image, in a list; numbers may come in tensors and arrays, a data set's labels as they are. Seeds likewise.
    `Pipeline(tokenizer, prior, ...)` makes a `CodesPipeline`.
    """

    kinds: ClassVar[dict[str, type[Pipeline]]] = {}  # by the "type" of a config.json
    saved_as: ClassVar[str] = ""  # the "type" that this kind writes
    does: ClassVar[str] = "draws pictures and no more"  # told where another kind is wanted
    part_names: ClassVar[tuple[str, ...]]  # attributes that are its networks, and their folders on disk; the last of them draws
    more_files: ClassVar[tuple[str, ...]] = ()  # that its folder may hold beside these, config.json and README.md

    class_names: tuple[str, ...]  # of the classes that it was trained with; () without classes
    background: str = "white"  # what transparent pictures are laid on, as in the data it saw

    def __init_subclass__(cls, saved_as: Sequence[str] = (), **keywords):
        """saved_as: the "type"s in a config.json that this kind opens; it writes the first. None: it is never saved."""
        super().__init_subclass__(**keywords)
        if saved_as:
            cls.saved_as = saved_as[0]
        for name in saved_as:
            if Pipeline.kinds.get(name, cls).__module__ != cls.__module__:
                raise TypeError(f"two kinds of pipeline are saved as {name}: {Pipeline.kinds[name].__module__} and {cls.__module__}")
            Pipeline.kinds[name] = cls

    def __new__(cls, *arguments, **named):
        """As `pathlib.Path` does: the name of all kinds makes the first of them."""
        return super().__new__(Pipeline.kinds["CodesPipeline"] if cls is Pipeline else cls)

    # ---- what a kind says of itself

    @property
    def medium(self) -> Medium:
        """What its signals are: pictures, sound or clips."""
        return PICTURES

    @property
    @abc.abstractmethod
    def size(self) -> tuple[int, ...]:
        """Of its signals along each axis of the medium, (height, width) of pictures."""

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Of its signals; of pictures 1 grey, 3 colour."""

    @abc.abstractmethod
    def settings(self, **changes) -> Spec:
        """Its settings of a drawing, with those fields changed that are not None. ValueError names one that it does not have."""

    @abc.abstractmethod
    def draw(self, conditions: list, seeds: list[int], settings: Spec, on_step: OnStep = None) -> Tensor:
        """Signals (n, C, *size), pictures in [0, 1], of as many conditions as seeds, in one batch; each is its own condition's and seed's
        alone.

        on_step: called after each step, of a kind that draws in steps.
        """

    @classmethod
    def read(cls, folder: Path, config: dict[str, Any], dtype: torch.dtype | None, network: torch.dtype | None) -> Self:
        """The pipeline in a folder, whose config.json is `config`: floats in `dtype`, of the network in `network`, None: as stored.

        ValueError for what does not fit.
        """
        raise NotImplementedError(f"a {cls.__name__} is never saved")

    def write(self, folder: Path, dtype: torch.dtype | None) -> None:
        """Writes all files into an empty folder; its parts with `save_part`."""
        raise NotImplementedError(f"a {type(self).__name__} is never saved")

    # ---- what follows for all kinds

    @property
    def image_size(self) -> tuple[int, int]:
        """`size` of its pictures, (height, width). ValueError where its signals are none."""
        self.check_pictures()
        return self.size

    def check_pictures(self) -> None:
        """ValueError where its signals are no pictures."""
        if self.medium != PICTURES:
            raise ValueError(f"pipeline: its signals are {self.medium.plural}; this is for pictures")

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Its networks by name, each with the `spec` that builds it."""
        return {name: getattr(self, name) for name in self.part_names}

    @property
    def network(self) -> nn.Module:
        """The one that draws, whose precision is chosen."""
        return getattr(self, self.part_names[-1])

    def __call__(
        self, condition: Condition = None, seeds: Seeds = None, *, guidance_scale: float | None = None,
        num_inference_steps: int | None = None, output_type: str | None = None, batch_size: int = 64,
        callback_on_step_end: OnStep = None, **settings,
    ) -> Any:  # fmt: skip
        """New signals, one for each condition and seed; image i depends on its own condition and seed alone, up to rounding: in bf16, and
        seldom in float32 on a GPU, another batch size can tip a bit (docs/performance.md).

        One condition is used for all seeds. `seeds` None: 0, 1, 2, ... as many as conditions. `settings` are further fields of what the
        method `settings` returns, such as a sampler's evaluations or temperature.
        `output_type`, of pictures: "pil" a list (where nothing is said), "np" (n, H, W, C) uint8, "pt" (n, C, H, W) in [0, 1]; of other
        media see their `to_output`.
        """
        self.medium.check_output(output_type, batch_size)
        conditions, seeds = given.pairs(condition, seeds)
        how = self.settings(guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, **settings)
        parts = [slice(start, start + batch_size) for start in range(0, len(seeds), batch_size)]
        made = torch.cat([self.draw(conditions[part], seeds[part], how, callback_on_step_end) for part in parts])
        return self.medium.to_output(made, output_type)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def precision(self) -> str:
        """Of the network that draws: float32, bf16 or int8, or what torch calls another."""
        if any(isinstance(part, Int8Linear) for part in self.network.modules()):
            return "int8"
        found = next(self.network.parameters()).dtype
        return "bf16" if found is torch.bfloat16 else str(found).removeprefix("torch.")

    def to(self, device=None, dtype: torch.dtype | None = None) -> Self:
        """Moves the weights.

        bf16 samples faster where the processor has bf16 products (`bitmosaic.nets.precision.has_bf16_products`). torch.int8 is for
        CPUs: linear layers of the network that draws multiply 8-bit integers, all else is float32; there is no way back, and it cannot be
        saved.
        """
        others = self.parts.values()
        if dtype is torch.int8:
            if torch.device(device or self.device).type != "cpu":
                raise ValueError(f"dtype: int8 is for CPUs; got device {device or self.device}, where bf16 is fast")
            quantize(self.network).float()
            dtype, others = torch.float32, [part for part in others if part is not self.network]
        for part in others:
            part.to(device=device, dtype=dtype)
        return self

    def decode_in(self, dtype: torch.dtype) -> None:  # noqa: B027, some have nothing to decode
        """Lets what makes pictures of codes compute in another type."""

    def class_number(self, name: int | str | None) -> int:
        """The number of a class given by number or name; None is the null class, which follows the last. ValueError where there is none."""
        return ClassReader(self.class_names).number(name)

    @property
    def reader(self) -> ConditionReader:
        """The form in which its conditions are given."""
        return ClassReader(self.class_names) if self.class_names else NoReader()

    def labels(self, conditions: Sequence) -> Value | None:
        """Conditions as values, where the network is; None where nothing is told. ValueError for one that there is not."""
        found = self.reader.read(conditions)
        return None if found is None else found.to(self.device)

    @classmethod
    def from_pretrained(
        cls, path: str | Path = "fashion", device: str = "cpu", dtype: torch.dtype = torch.float32, network: torch.dtype | None = None
    ) -> Self:  # fmt: skip
        """The pipeline in a folder, or one of the zoo by name, of whatever kind its config.json names.

        `dtype` as in `to`; network: that of the network that draws, where the other parts shall have another: where it is bf16, or int8 on
        a processor that multiplies bf16, pictures are decoded in bf16 too, and encoded in float32. Weights that the folder holds
        in that type are memory-mapped, others are converted one by one. ValueError names the file, field or tensor that
        does not fit; asked of a kind, it is told where the folder holds another.
        """
        folder = find_pipeline(path)
        kind = kind_of(folder)
        if not issubclass(kind, cls):
            raise ValueError(f"{path}: a {kind.__name__}, which {kind.does}; this needs a pipeline that {cls.does}")
        whole, network = torch.float32 if dtype is torch.int8 else dtype, dtype if network is None else network
        read = kind.read(folder, read_json(folder / "config.json"), whole, None if network is torch.int8 else network)
        made = read.to(device, torch.int8 if network is torch.int8 else None)
        if whole is torch.float32 and (network is torch.bfloat16 or network is torch.int8 and has_bf16_products(device)):
            made.decode_in(torch.bfloat16)
        return made

    def save_pretrained(self, path: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes the folder that `from_pretrained` reads, whole or not at all; an older one there is replaced."""
        path = Path(path).expanduser()
        check_replaceable(path)
        if any(isinstance(m, Int8Linear) for m in self.network.modules()):
            raise ValueError("dtype: this pipeline was turned to int8, which is for drawing only; save one that was not")
        with written_beside(path) as folder:
            self.write(folder, dtype)


def kind_of(folder: Path) -> type[Pipeline]:
    """The kind of the pipeline in a folder, by its config.json. ValueError where it is none."""
    config = read_json(folder / "config.json")
    name = config.get("type") if isinstance(config, dict) else None
    if isinstance(name, str) and name in Pipeline.kinds:
        return Pipeline.kinds[name]
    alone = isinstance(config, dict) and (folder / "model.safetensors").is_file()
    what = f"; this is a {name} alone, join it by 'bitmosaic convert TOKENIZER PRIOR'" if alone else ""
    raise ValueError(f"{folder / 'config.json'}: want an object with the type of a pipeline, {' or '.join(Pipeline.kinds)}{what}")


def check_config(path: Path, config: dict[str, Any], keys: set[str]) -> tuple[list[str], str]:
    """Class names and background of a config.json that has these keys besides. ValueError where it has others, or theirs do not fit."""
    if config.keys() - {"background"} != {"type", "class_names", *keys}:
        wanted = ", ".join(["class_names", *sorted(keys)])
        raise ValueError(f"{path}: want an object with type {config['type']!r}, {wanted}, perhaps background, and no more")
    names, background = config["class_names"], config.get("background", "white")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: class_names must be a list of strings")
    try:
        as_colour(background)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return names, background


def check_replaceable(path: Path) -> None:
    """ValueError unless a pipeline may be written at `path`: nothing there, an empty folder, or another pipeline and no more."""
    try:
        kind = kind_of(path)
    except ValueError:
        kind = None
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and kind is None)):
        raise ValueError(f"path: {path} holds something that is no pipeline, so it stays; give a new or empty folder")
    if path.is_dir():
        own = {"config.json", "README.md", *kind.part_names, *kind.more_files} if kind else set()
        other = sorted({p.name for p in path.iterdir()} - own)
        if other:
            raise ValueError(f"path: {path} holds {other[0]} beside a pipeline, which would be lost; give a new or empty folder")
        if path.resolve() == Path.cwd():
            raise ValueError(f"path: {path} is the working folder, which cannot be replaced; give another one")
