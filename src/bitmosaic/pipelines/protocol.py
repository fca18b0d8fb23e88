"""The base class of pipelines: conditions and seeds -> pictures, or signals of another medium.

A kind of pipeline is a subclass; `saved_as` registers the name by which `Pipeline.from_pretrained` opens its folders. Functions over
pipelines (evaluation, commands, the studio's Generate panel) use only what is defined here; those that need codes, such as editing, take a
`TwoStagePipeline`.
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
from bitmosaic.pipelines.zoo import DEFAULT, find_pipeline
from bitmosaic.samplers import Step
from bitmosaic.spec import Spec

OnStep = Callable[[Step], None] | None


class Pipeline(abc.ABC):
    """Conditions and seeds -> pictures; arguments are named as in diffusers where it has them.

    `condition` is a class (its number or name), a blend {class: weight}, a prompt for a pipeline trained on captions, None for none, or a
    list of these, one an image; numbers may come in tensors and arrays, such as a data set's labels. Seeds likewise.
    `Pipeline(tokenizer, prior, ...)` makes a `CodesPipeline`.
    """

    kinds: ClassVar[dict[str, type[Pipeline]]] = {}  # by the "type" of a config.json
    saved_as: ClassVar[str] = ""  # the "type" that this kind writes
    does: ClassVar[str] = "only draws pictures"  # for messages where another kind is needed
    part_names: ClassVar[tuple[str, ...]]  # attributes that are its networks, and their folders on disk; the last one draws
    more_files: ClassVar[tuple[str, ...]] = ()  # further files that its folder may hold

    class_names: tuple[str, ...]  # of the classes that it was trained with; () without classes
    background: str = "white"  # colour under transparent pictures, as in the training data

    def __init_subclass__(cls, saved_as: Sequence[str] = (), **keywords):
        """saved_as: values of "type" in a config.json that this kind opens; it writes the first. Empty: it is never saved."""
        super().__init_subclass__(**keywords)
        if saved_as:
            cls.saved_as = saved_as[0]
        for name in saved_as:
            if Pipeline.kinds.get(name, cls).__module__ != cls.__module__:
                raise TypeError(f"two kinds of pipeline are saved as {name}: {Pipeline.kinds[name].__module__} and {cls.__module__}")
            Pipeline.kinds[name] = cls

    def __new__(cls, *arguments, **named):
        """`Pipeline(...)` itself makes a CodesPipeline, as `pathlib.Path(...)` makes a PosixPath."""
        return super().__new__(Pipeline.kinds["CodesPipeline"] if cls is Pipeline else cls)

    # ---- what a kind says of itself

    @property
    def medium(self) -> Medium:
        """The kind of its signals: pictures, sound or clips."""
        return PICTURES

    @property
    @abc.abstractmethod
    def size(self) -> tuple[int, ...]:
        """The size of its signals along each axis of the medium, (height, width) of pictures."""

    @property
    @abc.abstractmethod
    def channels(self) -> int:
        """Channels of its signals; of pictures 1 grey, 3 colour."""

    @abc.abstractmethod
    def settings(self, **changes) -> Spec:
        """Its sampling settings with the fields changed that are not None. ValueError names one that it does not have."""

    @abc.abstractmethod
    def draw(self, conditions: list, seeds: list[int], settings: Spec, on_step: OnStep = None) -> Tensor:
        """Signals (n, C, *size), pictures in [0, 1], of as many conditions as seeds, in one batch; each depends on its own condition and
        seed only.

        on_step: called after each step, by kinds that sample in steps.
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
        """`size` of its pictures, (height, width). ValueError for another medium."""
        self.check_pictures()
        return self.size

    def check_pictures(self) -> None:
        """ValueError where its signals are not pictures."""
        if self.medium != PICTURES:
            raise ValueError(f"pipeline: its signals are {self.medium.plural}; this is for pictures")

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Its networks by name, each with the `spec` that builds it."""
        return {name: getattr(self, name) for name in self.part_names}

    @property
    def network(self) -> nn.Module:
        """The network that draws, whose precision can be chosen."""
        return getattr(self, self.part_names[-1])

    def __call__(
        self, condition: Condition = None, seeds: Seeds = None, *, guidance_scale: float | None = None,
        num_inference_steps: int | None = None, output_type: str | None = None, batch_size: int = 64,
        callback_on_step_end: OnStep = None, **settings,
    ) -> Any:  # fmt: skip
        """New signals, one for each condition and seed; each depends on its own condition and seed only, up to rounding: in bf16, and
        rarely in float32 on a GPU, another batch size can change a bit (docs/performance.md).

        One condition is used for all seeds. seeds: None is 0, 1, 2, ..., as many as conditions. settings: further fields of the sampler's
        settings, such as evaluations or temperature.
        output_type, of pictures: "pil", the default, a list; "np" (n, H, W, C) uint8; "pt" (n, C, H, W) in [0, 1]; of other media see their
        `to_output`. ValueError for conditions, seeds or settings that do not fit.
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
        """The precision of the network that draws: float32, bf16 or int8, or torch's name of another."""
        if any(isinstance(part, Int8Linear) for part in self.network.modules()):
            return "int8"
        found = next(self.network.parameters()).dtype
        return "bf16" if found is torch.bfloat16 else str(found).removeprefix("torch.")

    def to(self, device=None, dtype: torch.dtype | None = None) -> Self:
        """Moves the weights.

        bf16 samples faster where the processor multiplies it (`bitmosaic.nets.precision.has_bf16_products`). torch.int8, for CPUs only:
        linear layers of the network that draws multiply 8-bit integers, all else is float32; this cannot be undone, nor saved.
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
        """The number of a class given by number or name; None is the null class, numbered after the last. ValueError for an unknown one."""
        return ClassReader(self.class_names).number(name)

    @property
    def reader(self) -> ConditionReader:
        """The reader of conditions as users give them."""
        return ClassReader(self.class_names) if self.class_names else NoReader()

    def labels(self, conditions: Sequence) -> Value | None:
        """Conditions as a batch of values, on the network's device; None where no image has one. ValueError for an unknown one."""
        found = self.reader.read(conditions)
        return None if found is None else found.to(self.device)

    @classmethod
    def from_pretrained(
        cls, path: str | Path = DEFAULT, device: str = "cpu", dtype: torch.dtype = torch.float32, network: torch.dtype | None = None
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
    """The kind of the pipeline in a folder, by its config.json. ValueError where there is no pipeline."""
    config = read_json(folder / "config.json")
    name = config.get("type") if isinstance(config, dict) else None
    if isinstance(name, str) and name in Pipeline.kinds:
        return Pipeline.kinds[name]
    alone = isinstance(config, dict) and (folder / "model.safetensors").is_file()
    what = f"; this is a {name} alone, join it by 'bitmosaic convert TOKENIZER PRIOR'" if alone else ""
    raise ValueError(f"{folder / 'config.json'}: want an object with the type of a pipeline, {' or '.join(Pipeline.kinds)}{what}")


def check_config(path: Path, config: dict[str, Any], keys: set[str]) -> tuple[list[str], str]:
    """Class names and background of a config.json with exactly `keys` besides. ValueError for other keys or wrong values."""
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
