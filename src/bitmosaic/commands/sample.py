"""`bitmosaic sample`: new images of some classes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.arguments import OwnFloat, OwnNumber, PipelineName
from bitmosaic.commands.files import SOFTWARE, file_name, unlike, written_into
from bitmosaic.commands.pipelines import load
from bitmosaic.images import save, sheet, to_pil
from bitmosaic.nets.precision import resolve
from bitmosaic.pipeline import Condition, Pipeline
from bitmosaic.train.train import enlargement

Drawing = Literal["auto", "float32", "bf16", "int8"]
OWN = "(default: the pipeline's own)"
OwnSampler = Annotated[
    Literal["entropy-ordered", "marginals-first", "entropy-budget"] | None,
    tyro.conf.arg(metavar="{entropy-ordered,marginals-first,entropy-budget}", help_behavior_hint=OWN),
]
OwnProcedure = Annotated[
    Literal["chain", "posterior", "transitions"] | None,
    tyro.conf.arg(metavar="{chain,posterior,transitions}", help_behavior_hint=OWN),
]

SHEET_ROWS = 40  # more do not fit on a page
BATCH = 64  # images at once


def sample(
    pipeline: PipelineName = "fashion", *,
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS ...", help_behavior_hint="(default: all)")] = (),
    count: int = 8, seed: int = 0, guidance_scale: OwnFloat = None, steps: OwnNumber = None,
    evaluations: OwnNumber = None, temperature: OwnFloat = None, sampler: OwnSampler = None, procedure: OwnProcedure = None,
    shortlist: OwnFloat = None, budget: OwnFloat = None, out: Path = Path("samples"), sheet: bool = True,
    device: str = "cpu", precision: Drawing = "float32",
) -> list[Path]:  # fmt: skip
    """Draws new images and writes them as PNG files, with one sheet of them all.

    An image depends on its class, its seed and the settings alone, so the same command draws the same images. A file
    is called by class and seed, such as bag-000.png, and its PNG text says how it was made.

    Args:
        pipeline: a pipeline that ships (see 'bitmosaic list'), the folder of one, or of a training run that has ended.
        classes: classes by name or number; none for no class; a blend as bag:0.5+sandal:0.5.
        count: images of each class.
        seed: of the first image of each class; the next ones have the next seeds.
        guidance_scale: how strictly an image keeps to its class; 1: no guidance, more: less varied.
        steps: rounds in which an image is revealed; more is slower and mostly better.
        evaluations: of the head in one round; more is slower and mostly better.
        temperature: of the noise in the order in which places are revealed; more is more varied.
        sampler: entropy-ordered (the published one), marginals-first (a shortlist walks the chain) or entropy-budget.
        procedure: how the head draws bits: chain (published), posterior (the same with exact jumps) or transitions.
        shortlist: for the last two samplers, places that walk the chain for each that is revealed; more is slower.
        budget: for entropy-budget, bits of entropy that are revealed together; more is faster.
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
    given = {
        "guidance_scale": guidance_scale, "steps": steps, "evaluations": evaluations, "temperature": temperature, "sampler": sampler,
        "procedure": procedure, "shortlist": shortlist, "budget": budget,
    }  # fmt: skip
    settings = {name: value for name, value in given.items() if value is not None}
    used = {**pipe.settings(**settings).to_json(), "device": device, "precision": drawing_name(precision, device)}
    made_by = {"Software": SOFTWARE, "Pipeline": pipeline, "Settings": json.dumps(used)}
    labels, wanted = zip(*conditions(pipe, classes), strict=True)
    stems = unlike([file_name(label) for label in labels])
    names = [f"{stem}-{seed + i:03d}.png" for stem in stems for i in range(count)]
    started, rows = time.perf_counter(), []
    with written_into(out, names + ["sheet.png"] * sheet) as folder:
        for i, image in enumerate(draw(pipe, wanted, count, seed, **settings)):
            save(to_pil(image), folder / names[i], **made_by, Class=labels[i // count], Seed=seed + i % count)
            if i < SHEET_ROWS * count:
                rows.append(image)
        if sheet:
            save(class_sheet(rows, labels, count), folder / "sheet.png", **made_by, Seed=seed)
    seconds = time.perf_counter() - started
    print(f"{len(names)} images in {seconds:.1f} s, {seconds / len(names):.2f} s each: {out}")
    return [Path(out) / name for name in names + ["sheet.png"] * sheet]


def drawing_name(precision: Drawing, device: str) -> str:
    """What "auto" means here."""
    return precision if precision == "int8" else resolve(precision, device)


def at_precision(pipeline: Pipeline, precision: Drawing) -> Pipeline:
    """The pipeline with its prior in that precision; the tokenizer stays in float32."""
    if precision == "int8":
        return pipeline.to(dtype=torch.int8)
    pipeline.prior.to(torch.bfloat16 if resolve(precision, pipeline.device) == "bf16" else torch.float32)
    return pipeline


def conditions(pipeline: Pipeline, classes: Sequence[str] = ()) -> list[tuple[str, Condition]]:
    """Labels and conditions of the classes named, or of all; a pipeline without classes has one, called "image"."""
    if not classes:
        return [(name, i) for i, name in enumerate(pipeline.class_names)] or [("image", None)]
    return [condition(pipeline, text) for text in dict.fromkeys(classes)]


def condition(pipeline: Pipeline, text: str) -> tuple[str, Condition]:
    """Label and condition of a class, of "none", or of a blend such as bag:0.5+sandal:0.5."""
    if text == "none" and text not in pipeline.class_names:
        return text, None
    if not pipeline.class_names:
        raise ValueError(f"classes: got {text!r}, but this pipeline was trained without classes; leave --classes out")
    if ":" not in text or text in pipeline.class_names:
        number = pipeline.class_number(text)
        return pipeline.class_names[number], number
    blend = {}
    for part in text.split("+"):
        name, _, weight = part.rpartition(":")
        try:
            blend[pipeline.class_number(name)] = float(weight)
        except ValueError as error:
            what = f"classes: cannot read {part!r} in {text!r} ({error}); a blend is like bag:0.5+sandal:0.5"
            raise ValueError(what) from error
    if not all(math.isfinite(w) and w >= 0 for w in blend.values()) or abs(sum(blend.values()) - 1) > 1e-3:
        raise ValueError(f"classes: weights in {text!r} must be at least 0 and sum to 1, such as bag:0.5+sandal:0.5")
    return text, blend


def draw(
    pipeline: Pipeline, wanted: Sequence[Condition], count: int, seed: int, title: str = "sampling", **settings
) -> Iterator[Tensor]:
    """`count` images (C, H, W) in [0, 1] of each condition, seeds from `seed` on; a progress bar counts the steps."""
    settings = {"num_inference_steps" if name == "steps" else name: value for name, value in settings.items()}
    total = len(wanted) * count
    with tqdm(desc=title, unit="step", disable=None, dynamic_ncols=True, leave=False) as bar:

        def count_step(step):
            bar.total = step.total * -(-total // BATCH)
            bar.update()

        for start in range(0, total, BATCH):
            part = range(start, min(start + BATCH, total))
            bar.set_postfix_str(f"images {start + 1} to {part.stop} of {total}")
            yield from pipeline(
                [wanted[i // count] for i in part], [seed + i % count for i in part], output_type="pt",
                batch_size=BATCH, callback_on_step_end=count_step, **settings,
            )  # fmt: skip


def class_sheet(images: Sequence[Tensor], labels: Sequence[str], columns: int) -> Image.Image:
    """A row of images for each label, as far as there are images."""
    rows = torch.stack(list(images)).unflatten(0, (-1, columns))
    return sheet(rows, labels[: len(rows)], scale=enlargement(images[0].shape[-1]))
