"""Shared by commands that edit a picture: arguments, the region to repaint, and answers as files and one sheet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.arguments import Background, OwnBox, OwnPipeline
from bitmosaic.commands.drawing import OwnClass, Prompt, Settings, condition, named
from bitmosaic.commands.files import SOFTWARE, file_name, written_into
from bitmosaic.commands.pipelines import Drawing, load, pipeline_for
from bitmosaic.images import captioned, read_image, save, shipped_image, to_pil
from bitmosaic.names import plain
from bitmosaic.pipelines import CodesPipeline, Condition
from bitmosaic.pipelines.editing import Answers, edit_settings

Picture = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE", help_behavior_hint="")]
COVER = 158 / 255  # grey of pixels to repaint, on the sheet
COLUMNS = 8  # of the sheet
LARGE = 512  # pixels of a picture's longer side on the sheet, at most
PICTURED = 112  # pixels of a small picture's height on the sheet, at least


@dataclass(frozen=True)
class Region:
    """What is repainted: one of these three.

    Args:
        mask: a picture of the same size as the image, white where it is repainted.
        box: left, top, right and bottom in pixels, right and bottom excluded.
        places: places of the code grid, each as row,column, counted from 0.
    """

    mask: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    box: OwnBox = None
    places: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ROW,COLUMN ...", help_behavior_hint="")] = ()

    def read(self) -> Any:
        """A mask as `Pipeline.inpaint` takes it. ValueError unless one of the three is given, and places are pairs of numbers."""
        if (self.mask is not None) + (self.box is not None) + bool(self.places) != 1:
            raise ValueError("mask, box, places: give one of the three, such as --box 4 4 20 20")
        if not self.places:
            return str(self.mask) if self.box is None else self.box
        try:
            return [tuple(int(n) for n in place.split(",")) for place in self.places]
        except ValueError:
            raise ValueError(f"places: got {' '.join(self.places)}; give each as row,column, such as 2,3") from None


NOWHERE = Region()


@dataclass(frozen=True)
class Painting:
    """What is painted, how often, and by what.

    Args:
        class_: class of what is painted, by name or number; none for no class; a blend such as bag:0.5+sandal:0.5.
        prompt: a text instead of a class, for pipelines trained on captions.
        count: number of answers.
        seed: of the first answer; each further one has the next seed.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        background: colour behind a transparent image, such as black, white or '#336699'.
        device: where to compute, such as cpu or cuda.
        precision: of the network that draws; own: float32, or auto above 100 million weights; auto: bf16 where the processor has
            bf16 arithmetic, else float32.
    """

    class_: OwnClass = ""
    prompt: Prompt = ""
    count: int = 4
    seed: int = 0
    pipeline: OwnPipeline = ""
    background: Background = ""
    device: str = "cpu"
    precision: Drawing = "own"

    @property
    def named(self) -> tuple[str, str]:
        """The argument that is given, "class" or "prompt", and its text. ValueError for both at once."""
        return named(self.class_ or "none", self.prompt)

    def picture(self, image: str, pipe: CodesPipeline) -> Any:
        """The picture at a path, or a bundled test image such as fashion:17, on the background."""
        return given(image, self.background or pipe.background)


USUAL = Painting()


def given(image: str, background: str) -> Any:
    """A picture by its path, on the background where it is transparent, or a bundled test image such as fashion:17.

    ValueError where it cannot be read or does not exist.
    """
    shipped = shipped_image(image)
    return read_image(image, None, 3, background) if shipped is None else shipped


@dataclass(frozen=True)
class Task:
    """The arguments of an editing command. ValueError for a count below 1."""

    name: str  # of the command
    image: str  # path, or name of a bundled test image
    painting: Painting
    settings: Settings
    more: dict[str, Any]  # further arguments that the answers depend on, for the PNG's text

    def __post_init__(self):
        if self.painting.count < 1:
            raise ValueError(f"count: got {self.painting.count}; give a whole number of at least 1")

    @property
    def pipeline(self) -> str:
        """The pipeline that is named, or the default for the image."""
        return pipeline_for(self.painting.pipeline, self.image)

    def files(self) -> list[str]:
        """Names of the answers, the likeliest first, and of their sheet."""
        stem = file_name(Path(self.image).stem if Path(self.image).exists() else self.image)
        return [*(f"{stem}-{i + 1}.png" for i in range(self.painting.count)), "sheet.png"]

    @contextmanager
    def ready(self) -> Iterator[tuple[CodesPipeline, Condition, dict[str, Any]]]:
        """The pipeline, the condition, and arguments of its methods; a progress bar counts steps."""
        of = self.painting
        argument, text = of.named
        pipe = load(self.pipeline, of.device, CodesPipeline, precision=of.precision)
        _, label = condition(pipe, text, argument)
        with tqdm(desc=self.name, unit="step", disable=None, dynamic_ncols=True, leave=False) as bar:
            yield pipe, label, {
                "seeds": range(of.seed, of.seed + of.count), "output_type": "pt", "callback_on_step_end": lambda step: bar.update(),
                **self.settings.given(),
            }  # fmt: skip

    def told(self, pipe: CodesPipeline) -> dict[str, str]:
        """The text chunks of a PNG: how it was made."""
        of, own = self.painting, self.settings.given()
        used = pipe.settings(**edit_settings(pipe, own) if self.name == "edit" else own).to_json()
        used |= {"device": of.device, **self.more, "precision": pipe.precision}
        argument, text = of.named
        return {
            "Software": SOFTWARE, "Command": self.name, "Image": self.image, "Pipeline": self.pipeline,
            argument.title(): plain(text), "Settings": json.dumps(used, default=str),
        }  # fmt: skip


def write(task: Task, pipe: CodesPipeline, answers: Answers, before: Sequence[tuple[str, Tensor]], folder: Path) -> None:
    """Writes the answers, likeliest first, as PNG files and one sheet, on which the named pictures `before` come first."""
    captions = [name for name, _ in before] + [f"{i + 1}: {bits:.0f} bits" for i, bits in enumerate(answers.bits)]
    shown, about = torch.stack([image for _, image in before] + list(answers.images)), task.told(pipe)
    about |= {"Notes": "; ".join(answers.notes)} if answers.notes else {}
    for name, image, seed, bits in zip(task.files(), answers.images, answers.seeds, answers.bits, strict=False):
        save(to_pil(image), folder / name, **about, Seed=seed, Bits=round(bits, 1))
    if max(shown.shape[-2:]) > LARGE:
        sides = [max(1, round(side * LARGE / max(shown.shape[-2:]))) for side in shown.shape[-2:]]
        shown = torch.nn.functional.interpolate(shown, sides, mode="area")
    save(captioned(shown, captions, COLUMNS, max(1, PICTURED // shown.shape[-2])), folder / "sheet.png", **about, Seed=task.painting.seed)


def covered(pixels: Tensor, repaint: Tensor) -> Tensor:
    """Pixels (C, H, W), grey where `repaint` (H, W) is True."""
    return torch.where(repaint, COVER, pixels)


Ask = Callable[[CodesPipeline, Condition, dict[str, Any]], tuple[Answers, list[tuple[str, Tensor]]]]


def paint(task: Task, ask: Ask, out: Path) -> list[Path]:
    """Runs an editing command; `ask` returns the answers and the named pictures to show before them. Returns the files written."""
    with written_into(out, task.files()) as folder:
        with task.ready() as (pipe, label, arguments):
            answers, before = ask(pipe, label, arguments)
        write(task, pipe, answers, before, folder)
    paths = [Path(out) / name for name in task.files()]
    for path, seed, bits in zip(paths, answers.seeds, answers.bits, strict=False):
        print(plain(f"{path}  seed {seed}, {bits:.0f} bits"))
    print(plain(paths[-1]))
    for note in answers.notes:
        print(plain(note), file=sys.stderr)
    return paths
