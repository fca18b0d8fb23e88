"""`bitmosaic sample`: new images of some classes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
import torch.distributed as dist
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.arguments import PipelineName
from bitmosaic.commands.drawing import OWN_SETTINGS, Settings, conditions
from bitmosaic.commands.files import SOFTWARE, check_free, file_name, sweep, unlike, written_into
from bitmosaic.commands.pipelines import DEFAULT, Drawing, checksum, find, load
from bitmosaic.evaluate.parallel import everywhere, in_chunks, processes
from bitmosaic.images import save, sheet, sheet_fits
from bitmosaic.media import PICTURES, Medium
from bitmosaic.names import plain
from bitmosaic.pipelines import Condition, Pipeline
from bitmosaic.train.pictures import enlargement

SHEET = "sheet.png"
SHEET_SIDE = 40  # rows and columns of the sheet; more do not fit on a page
BATCH = 64  # images at once
MOST = 20  # classes that are all drawn unless others are named


def sample(
    pipeline: PipelineName = DEFAULT, *,
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS ...", help_behavior_hint="(default: all, or some of many)")] = (),
    prompt: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...", help_behavior_hint="")] = (),
    count: int = 8, seed: int = 0, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, out: Path = Path("samples"),
    sheet: bool = True, device: str = "cpu", precision: Drawing = "own",
) -> list[Path]:  # fmt: skip
    """Draws new images of classes or texts, and writes them as PNG files with one sheet of all; sounds as WAV files, clips as GIF files.

    An image depends only on its class or prompt, its seed and the settings, so the same command draws the same images. A file is
    named by class or prompt and seed, such as bag-000.png, and its text chunks say how it was made. The same command again resumes where
    it was stopped. Processes that torchrun starts share the work; the first of them writes.

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        classes: classes by name or number; none for no class; a blend such as bag:0.5+sandal:0.5; all for every class. By default every
            class where there are at most 20, else one image each of `count` classes spread over them.
        prompt: texts such as 'a red heart', for pipelines trained on captions; each is drawn like a class.
        count: images of each class or prompt.
        seed: of the first image of each; each further one has the next seed.
        settings: of the sampler.
        out: folder to write into; other pictures of the same name that bitmosaic wrote are replaced.
        sheet: also write sheet.png, with a row for each class; with the first ones where there are too many.
        device: where to compute, such as cpu or cuda; a seed draws another image on another kind of device.
        precision: of the network that draws; own: float32, or auto above 100 million weights; auto: bf16 where the processor has
            bf16 arithmetic, else float32. bf16 is about two and a half times faster there, and its images differ a bit.

    Returns:
        All files of the samples, those that existed already included.
    """
    if count < 1:
        raise ValueError(f"count: got {count}; give a whole number of at least 1")
    pipe = load(pipeline, device, precision=precision)
    own = settings.given()
    used = {**pipe.settings(**own).to_json(), "device": device, "precision": pipe.precision}
    made_by = {"Software": SOFTWARE, "Pipeline": str(pipeline), "Weights": checksum(find(pipeline)), "Settings": json.dumps(used)}
    labels, wanted, count = selection(pipe, classes, prompt, count)
    stems = unlike([file_name(label) for label in labels])
    names = [f"{stem}-{seed + i:03d}{pipe.medium.ending}" for stem in stems for i in range(count)]
    about = [{**made_by, "Prompt" if prompt else "Class": plain(label), "Seed": str(seed + i)} for label in labels for i in range(count)]
    started, out = time.perf_counter(), Path(out).expanduser()
    shared = processes() if "RANK" in os.environ else nullcontext(True)
    with shared as first:
        left = everywhere(to_draw(out, names, about, sheet, pipe.medium) if first else None)[0]
        if isinstance(left, str):
            raise ValueError(left)
        asked = [(wanted[i // count], seed + i % count) for i in left]
        for start, images in draw(pipe, asked, **own):
            if first:
                part = left[start : start + len(images)]
                with written_into(out, [names[i] for i in part]) as folder:
                    for i, image in zip(part, images, strict=True):
                        pipe.medium.write(image, folder / names[i], **about[i])
        if sheet and first:
            with written_into(out, [SHEET]) as folder:
                save(class_sheet(out, names, labels, pipe), folder / SHEET, **made_by, Seed=seed)
    if first:
        seconds = time.perf_counter() - started
        there = f", {len(names) - len(left)} of them were there" if len(left) < len(names) else ""
        each = f", {seconds / len(left):.2f} s each" if left else ""
        print(plain(f"{len(names)} {pipe.medium.plural}{there} in {seconds:.1f} s{each}: {out}"))
    return [out / name for name in names + [SHEET] * sheet]


def selection(
    pipe: Pipeline, classes: Sequence[str], prompts: Sequence[str], count: int
) -> tuple[tuple[str, ...], tuple[Condition, ...], int]:  # fmt: skip
    """Labels, conditions and the number of images of each; where none is named, one image of some classes if there are more than `MOST`."""
    told = conditions(pipe, () if tuple(classes) == ("all",) else classes, prompts)
    if not classes and len(told) > MOST:
        few, many = min(count, len(told)), len(told)
        told, count = [told[i * many // few] for i in range(few)], 1
        print(f"{few} of {many:,} classes, one image each; --classes names others, --classes all draws {many * count:,} or more")
    labels, wanted = zip(*told, strict=True)
    return labels, wanted, count


def to_draw(out: Path, names: Sequence[str], about: Sequence[Mapping[str, str]], sheet: bool, medium: Medium) -> list[int] | str:
    """The numbers of the images that are not in `out` yet; or the error message where a file of the user's is in the way."""
    try:
        for name in [*names, *([SHEET] if sheet else [])]:
            check_free(out, Path(name))
    except ValueError as error:
        return str(error)
    sweep(out)
    return [i for i, name in enumerate(names) if not is_there(out / name, about[i], medium)]


def is_there(path: Path, about: Mapping[str, str], medium: Medium) -> bool:
    """Whether a file is complete, and is this image by its text chunks."""
    try:
        if medium.notes(path) != medium.kept(dict(about)):
            return False
        if medium == PICTURES:
            with Image.open(path) as picture:
                picture.load()
        return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def draw(
    pipeline: Pipeline, asked: Sequence[tuple[Condition, int]], title: str = "sampling", **settings
) -> Iterator[tuple[int, list[Tensor]]]:  # fmt: skip
    """Images (C, H, W) in [0, 1] of conditions and seeds, in batches with the number of their first; a progress bar counts steps.

    Joined processes share the work, and only the first gets the images.
    """
    total = len(asked)
    each = dist.get_world_size() if dist.is_initialized() else 1
    with tqdm(desc=title, unit="step", disable=None, dynamic_ncols=True, leave=False) as bar:

        def count_step(step):
            bar.total = step.total * -(-total // (BATCH * each))
            bar.update()

        def drawn(part: Sequence[int]) -> list[Tensor]:
            conditions, seeds = zip(*(asked[i] for i in part), strict=True)
            return pipeline(
                list(conditions), list(seeds), output_type="pt", batch_size=BATCH, callback_on_step_end=count_step, **settings
            )  # fmt: skip

        for start in range(0, total, BATCH * each):
            part = range(start, min(start + BATCH * each, total))
            bar.set_postfix_str(f"images {start + 1} to {part.stop} of {total}")
            if each == 1:
                yield start, list(drawn(part))
            else:
                yield start, list(chain(*in_chunks(len(part), BATCH, lambda some, part=part: drawn(part[some]))))


def class_sheet(folder: Path, names: Sequence[str], labels: Sequence[str], pipe: Pipeline) -> Image.Image:
    """A sheet with a row of images, or previews of them, for each label, with as many of each and as many labels as fit."""
    medium, count = pipe.medium, len(names) // len(labels)

    def shown_of(file: Path) -> Tensor:
        return medium.preview(medium.floats(medium.fitted(file, pipe.size, pipe.channels))[None])[0]

    size = tuple(shown_of(folder / names[0]).shape[1:])
    scale = enlargement(size[1])
    rows, columns = sheet_fits(size, scale)
    rows, columns = min(len(labels), rows, SHEET_SIDE), min(count, columns, SHEET_SIDE)
    shown = [[folder / names[row * count + column] for column in range(columns)] for row in range(rows)]
    images = torch.stack([torch.stack([shown_of(file) for file in files]) for files in shown])
    left = [f"{columns} of {count} images of each class"] * (columns < count) + [f"{rows} of {len(labels)} classes"] * (rows < len(labels))
    return sheet(images, labels[:rows], scale, note=", ".join(left))
