"""What each kind of request computes: a job runs in its own thread and uses only the protocol of pipelines, on a `Guest`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bitmosaic.codes import Codes, digit_widths
from bitmosaic.images import fitted, read_image
from bitmosaic.pipelines import editing
from bitmosaic.pipelines.editing import Answers, blend, canvas, coarse, way
from bitmosaic.web import requests
from bitmosaic.web.limits import RequestError
from bitmosaic.web.pictures import as_text, decoded, encoded
from bitmosaic.web.steps import Emit, grid_of, told_steps
from bitmosaic.web.task import AnswerPicture, Task


def draw(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    """The pictures of a request. ValueError where the pipeline refuses an argument, RequestError where the service does."""
    return {
        "generate": _generate, "inpaint": _inpaint, "edit": _inpaint, "outpaint": _outpaint, "interpolate": _interpolate, "enrich": _enrich,
        "decode": _decode,
    }[task.name](task, emit)  # fmt: skip


def _generate(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    class_, seeds, guest = task.condition(), task.seeds(), task.guest
    told = told_steps(task.guest, task.asked.entropy, emit, [class_] * len(seeds))
    images = guest(class_, seeds, output_type="pt", batch_size=task.limits.count, callback_on_step_end=told, **task.settings())
    made = zip(images, seeds, strict=True)
    return [AnswerPicture(image, seed, None, task.asked.class_, task.asked.prompt, task.again(seed=seed)) for image, seed in made]


def _inpaint(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    asked, guest, image, mask = task.asked, task.guest, task.picture(), task.mask()
    pixels, repaint = canvas(guest, image, mask, asked.fit)
    _check_canvas(task, pixels.shape[1:])
    whole = (pixels, "tile" if asked.fit == "tile" else "exact")
    told, seeds = told_steps(task.guest, task.asked.entropy, emit, [task.condition()] * asked.count, repaint), task.seeds()
    make = editing.edit if task.name == "edit" else editing.inpaint
    answers = make(
        guest, pixels, repaint, task.condition(), seeds, feather=asked.feather, fit=whole[1], output_type="pt", callback_on_step_end=told,
        batch_size=task.limits.count, **task.settings(),
    )  # fmt: skip
    kept = {"image": as_text(encoded(pixels)), "mask": as_text(encoded(repaint[None].float())), "fit": whole[1]}
    return _answered(task, answers, **kept)


def _outpaint(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    asked, guest = task.asked, task.guest
    pixels = read_image(task.picture(), None, guest.channels, guest.background)
    sides = asked.padding if isinstance(asked.padding, list) else [asked.padding] * 4
    _check_canvas(task, (pixels.shape[1] + sides[1] + sides[3], pixels.shape[2] + sides[0] + sides[2]))
    repaint = F.pad(torch.zeros(pixels.shape[1:], dtype=torch.bool), (sides[0], sides[2], sides[1], sides[3]), value=True)
    told, seeds = told_steps(task.guest, task.asked.entropy, emit, [task.condition()] * asked.count, repaint), task.seeds()
    answers = editing.outpaint(
        guest, pixels, asked.padding, task.condition(), seeds, feather=asked.feather, output_type="pt", callback_on_step_end=told,
        batch_size=task.limits.count, **task.settings(),
    )  # fmt: skip
    return _answered(task, answers, image=as_text(encoded(pixels)))


def _enrich(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    asked, guest = task.asked, task.guest
    pixels, _ = coarse(guest, task.picture(), asked.shrink, asked.fit)
    told, seeds = told_steps(task.guest, task.asked.entropy, emit, [task.condition()] * asked.count, passes=4 * asked.repeats), task.seeds()
    answers = editing.enrich(
        guest, pixels, task.condition(), seeds, shrink=asked.shrink, repeats=asked.repeats, output_type="pt", callback_on_step_end=told,
        batch_size=task.limits.count, **task.settings(),
    )  # fmt: skip
    return _answered(task, answers, image=as_text(encoded(pixels)), fit="exact")


def _interpolate(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    asked, classes = task.asked, task.classes()
    blends = blend(classes, asked.frames, asked.weights)
    rows = asked.weights or way(len(asked.classes), asked.frames)
    told = told_steps(task.guest, task.asked.entropy, emit, blends)
    images = editing.interpolate(
        task.guest,
        classes,
        asked.seed,
        weights=rows,
        output_type="pt",
        callback_on_step_end=told,
        batch_size=task.limits.count,
        **task.settings(),
    )
    return [
        AnswerPicture(image, asked.seed, None, mixed, None, task.again(seed=asked.seed, weights=[row]), row)
        for image, row, mixed in zip(images, rows, blends, strict=True)
    ]


def _decode(task: Task, emit: Emit | None) -> list[AnswerPicture]:
    texts = [task.asked.codes] if isinstance(task.asked.codes, str) else task.asked.codes
    grid, radix = task.guest.grid, task.guest.radix
    each, parts = -(-int(np.prod(grid)) * sum(digit_widths(radix)) // 8), []
    for text in texts:
        data = decoded(text, "codes", "the codes of an answer of /v1/encode")
        if len(data) != each:
            raise RequestError(422, f"codes: got {len(data)} bytes; give the {each} bytes of one image of this pipeline")
        parts.append(np.frombuffer(data, np.uint8))
    if not parts:
        raise RequestError(422, "codes: got an empty list; give the codes of at least one image")
    images = task.guest.decode(Codes.unpack(np.stack(parts), grid, radix).check(), "pt")
    return [AnswerPicture(image, None, None, None, None, task.again(codes=text)) for image, text in zip(images, texts, strict=True)]


def encode(task: Task) -> dict[str, Any]:
    """A picture's codes (base64 of packed digits), the fitted picture that was encoded, and its reconstruction."""
    guest = task.guest
    pixels = fitted(task.picture(), guest.image_size, guest.channels, task.asked.fit, guest.background)
    codes = guest.encode(pixels)
    return {
        "grid": list(guest.grid), "radix": list(guest.radix), "codes": as_text(codes.pack()[0].tobytes()),
        "image": as_text(encoded(pixels)), "reconstruction": as_text(encoded(guest.decode(codes, "pt")[0])),
    }  # fmt: skip


def features(task: Task) -> dict[str, Any]:
    """The prior's features of a picture after one of its blocks."""
    layer = task.guest.feature_layer if task.asked.layer is None else task.asked.layer
    found = task.guest.features(task.picture(), layer, None, task.asked.pool, task.asked.fit)[0]
    return {"layer": layer, "shape": list(found.shape), "features": found.tolist()}


def _answered(task: Task, answers: Answers, **kept) -> list[AnswerPicture]:
    """Answers as pictures; `kept`: fields of the request that reproduces them."""
    task.notes = answers.notes
    return [
        AnswerPicture(image, seed, bits, task.asked.class_, task.asked.prompt, task.again(seed=seed, **kept))
        for image, seed, bits in zip(answers.images, answers.seeds, answers.bits, strict=True)
    ]


def _check_canvas(task: Task, size: Sequence[int]) -> None:
    (height, width), own = size, task.guest.image_size
    most = min(task.limits.pixels, task.limits.canvas * own[0] * own[1])
    if height * width > most:
        raise RequestError(413, f"image: got a canvas of {width} x {height} pixels; this pipeline takes at most {most} in all")


def answer(task: Task, made: Sequence[AnswerPicture], started: float) -> dict[str, Any]:
    """The JSON of an answer with pictures."""
    guest, asked = task.guest, task.asked
    used = guest.settings(**task.settings()).to_json() if task.name != "decode" else None
    size = [made[0].image.shape[2], made[0].image.shape[1]]
    return {
        "pipeline": guest.name, "grid": grid_of(guest), "size": size, "seconds": round(time.monotonic() - started, 3),
        "settings": used, "notes": list(task.notes),
        "images": [
            {
                "image": as_text(encoded(one.image, asked.format, about(task, one))), "seed": one.seed,
                "bits": None if one.bits is None else round(one.bits, 1), "class": named(one.class_),
                **({} if one.prompt is None else {"prompt": one.prompt}),
                **({} if one.weights is None else {"weights": one.weights}),
            }
            for one in made
        ],
    }  # fmt: skip


def about(task: Task, *made: AnswerPicture) -> dict[str, Any]:
    """The text chunks of a PNG, of one picture or several side by side: how it was made, and the request that reproduces it."""
    first, guest = made[0], task.guest
    told: dict[str, Any] = {"Command": task.name, "Pipeline": guest.name, "Model": guest.fingerprint}
    if task.name != "decode":
        what = {"Class": json.dumps(named(first.class_))} if first.prompt is None else {"Prompt": first.prompt}
        told |= {**what, "Seed": str(first.seed)} if len(made) == 1 else {}
        used = guest.settings(**task.settings()).to_json()
        told["Settings"] = {**used, "device": guest.device.type, "precision": guest.precision}
    if len(made) == 1 and first.bits is not None:
        told["Bits"] = f"{first.bits:.1f}"
    if task.notes:
        told["Notes"] = "; ".join(task.notes)
    return {**told, "Request": first.again if len(made) == 1 else _all_again(task, first)}


def _all_again(task: Task, first: AnswerPicture) -> dict[str, Any]:
    """The request that reproduces all pictures of an answer."""
    if isinstance(task.asked, requests.PicturesRequest):
        return {**first.again, "seed": task.asked.seed, "count": task.asked.count}
    if isinstance(task.asked, requests.Decode):
        return {**first.again, "codes": task.asked.codes}
    return {name: value for name, value in first.again.items() if name != "weights"} | task.again(seed=first.seed)


def named(class_: Any) -> Any:
    """A class as JSON: the null class of a blend is called "none"."""
    return {("none" if name is None else str(name)): weight for name, weight in class_.items()} if isinstance(class_, dict) else class_
