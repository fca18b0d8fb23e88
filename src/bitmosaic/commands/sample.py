"""`bitmosaic sample`: new images of some classes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
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
from bitmosaic.commands.drawing import OWN_SETTINGS, Drawing, Settings, at_precision, conditions, drawing_name
from bitmosaic.commands.files import SOFTWARE, file_name, unlike, written_into
from bitmosaic.commands.pipelines import load
from bitmosaic.evaluate.parallel import in_chunks, processes
from bitmosaic.images import save, sheet, to_pil
from bitmosaic.pipeline import Condition, Pipeline
from bitmosaic.train.train import enlargement

SHEET_ROWS = 40  # more do not fit on a page
BATCH = 64  # images at once


def sample(
    pipeline: PipelineName = "fashion", *,
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS ...", help_behavior_hint="(default: all)")] = (),
    count: int = 8, seed: int = 0, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS, out: Path = Path("samples"),
    sheet: bool = True, device: str = "cpu", precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Draws new images and writes them as PNG files, with one sheet of them all.

    An image depends on its class, its seed and the settings alone, so the same command draws the same images. A file
    is called by class and seed, such as bag-000.png, and its PNG text says how it was made. Processes that torchrun starts
    share the work; the first writes.

    Args:
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        classes: classes by name or number; none for no class; a blend as bag:0.5+sandal:0.5.
        count: images of each class.
        seed: of the first image of each class; the next ones have the next seeds.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        sheet: also write sheet.png, with a row for each class.
        device: where to compute, such as cpu or cuda; seeds mean other images on another kind of device.
        precision: of the prior; bf16 is about two and a half times faster where the processor multiplies it, and slower where
            not; its images differ a bit. auto: whichever is fast here.

    Returns:
        The files written.
    """
    if count < 1:
        raise ValueError(f"count: got {count}; give a whole number of at least 1")
    pipe = at_precision(load(pipeline, device), precision)
    own = settings.given()
    used = {**pipe.settings(**own).to_json(), "device": device, "precision": drawing_name(precision, device)}
    made_by = {"Software": SOFTWARE, "Pipeline": pipeline, "Settings": json.dumps(used)}
    labels, wanted = zip(*conditions(pipe, classes), strict=True)
    stems = unlike([file_name(label) for label in labels])
    names = [f"{stem}-{seed + i:03d}.png" for stem in stems for i in range(count)]
    started, rows = time.perf_counter(), []
    shared = processes() if "RANK" in os.environ else nullcontext(True)
    with shared as first, written_into(out, names + ["sheet.png"] * sheet) if first else nullcontext() as folder:
        for i, image in enumerate(draw(pipe, wanted, count, seed, **own)):
            save(to_pil(image), folder / names[i], **made_by, Class=labels[i // count], Seed=seed + i % count)
            if i < SHEET_ROWS * count:
                rows.append(image)
        if sheet and first:
            save(class_sheet(rows, labels, count), folder / "sheet.png", **made_by, Seed=seed)
    seconds = time.perf_counter() - started
    if first:
        print(f"{len(names)} images in {seconds:.1f} s, {seconds / len(names):.2f} s each: {out}")
    return [Path(out) / name for name in names + ["sheet.png"] * sheet]


def draw(
    pipeline: Pipeline, wanted: Sequence[Condition], count: int, seed: int, title: str = "sampling", **settings
) -> Iterator[Tensor]:
    """`count` images (C, H, W) in [0, 1] of each condition, seeds from `seed` on; a progress bar counts the steps.

    Where processes have joined they draw together, and the first alone is given the images.
    """
    total = len(wanted) * count
    each = dist.get_world_size() if dist.is_initialized() else 1
    with tqdm(desc=title, unit="step", disable=None, dynamic_ncols=True, leave=False) as bar:

        def count_step(step):
            bar.total = step.total * -(-total // (BATCH * each))
            bar.update()

        def drawn(part: Sequence[int]) -> list[Tensor]:
            return pipeline(
                [wanted[i // count] for i in part], [seed + i % count for i in part], output_type="pt",
                batch_size=BATCH, callback_on_step_end=count_step, **settings,
            )  # fmt: skip

        for start in range(0, total, BATCH * each):
            part = range(start, min(start + BATCH * each, total))
            bar.set_postfix_str(f"images {start + 1} to {part.stop} of {total}")
            if each == 1:
                yield from drawn(part)
            else:
                yield from chain(*in_chunks(len(part), BATCH, lambda some, part=part: drawn(part[some])))


def class_sheet(images: Sequence[Tensor], labels: Sequence[str], columns: int) -> Image.Image:
    """A row of images for each label, as far as there are images."""
    rows = torch.stack(list(images)).unflatten(0, (-1, columns))
    return sheet(rows, labels[: len(rows)], scale=enlargement(images[0].shape[-1]))
