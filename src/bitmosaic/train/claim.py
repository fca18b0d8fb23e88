"""run.json, which says what a training folder is for, and whether a command may resume in it.

    out/run.json     {"run": the description, "images": a fingerprint of their contents, "features_file": that of a feature network's file,
                     "went_on": where steps were added}
    out/images.npz   checksums of the files of a folder of images, so that each is read once

Only what changes the resulting pipeline is compared: not the location of data, the frequency of logging, or the run's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bitmosaic.disk import checksum
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import Folder, ImageSet
from bitmosaic.images.contents import Contents
from bitmosaic.images.specs import ImagesSpec
from bitmosaic.nets.precision import resolve
from bitmosaic.spec import Spec, said
from bitmosaic.train.more_steps import go_on, more_steps, with_more
from bitmosaic.train.processes import world_size
from bitmosaic.train.progress import ProgressBar
from bitmosaic.train.run import Run, flat
from bitmosaic.train.stages import Stage
from bitmosaic.train.tokenized import Manifest

HARMLESS = {"reasons", "name", "checkpoint_seconds", "keep", "pictures_every", "log_every"}  # fields of any part of a run
ADVERSARIAL = {  # of a discriminator
    "adversarial_start", "adversarial_weight", "discriminator_lead", "discriminator_rate", "diffaugment", "discriminator_loss",
    "generator_loss", "balance", "adaptive_limit", "lecam_weight", "lecam_decay",
}  # fmt: skip
SHAPE = ("size", "channels")  # of images, which their fingerprint does not cover


def claim(out: Path, run: Run, images: ImageSet | Manifest, say: Callable[[str], object] = str, device: str = "cpu") -> Run:
    """Claims `out` for a run: writes run.json, or compares the run with the one there; returns it with batches cut into parts.

    ValueError names what differs where `out` holds another run, or other images. More steps than before are accepted, and reported.
    """
    path = out / "run.json"
    if not path.exists():
        run = cut(run, None)
        check_free(out)
        wanted = _described(run, images, out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        _keep_contents(images, out)
        return run
    before, found = read_run(out)
    run = cut(run, before)
    wanted = {**found, **_described(run, images, out)}
    _check_images(out, found.get("images"), images, _shape(before.data) == _shape(run.data))
    _check_outside(out, run, found, wanted)
    added, by_contents = more_steps(out, before, run), run.outside().keys() & found.keys()
    then, now = (
        {**_comparable(flat(described.to_json()), device, bool(by_contents)), "data": _shape(described.data)}
        for described in (with_more(before, added), run)
    )
    different = list(differences(then, now, "run"))
    if different:
        raise ValueError(f"{out} holds another run ({'; '.join(different[:4])}); give the same settings, or another folder")
    if added:
        wanted["went_on"] = [*found.get("went_on", ()), *go_on(out, added, say)]
    if wanted != found:
        write_json(path, wanted)
    _keep_contents(images, out)
    return run


def read_run(out: Path) -> tuple[Run, dict[str, Any]]:
    """The run described by a folder's run.json, and the whole file. ValueError where it describes no run, or one of another version."""
    path = out / "run.json"
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("run"), dict):
        raise ValueError(f"{path} is no description of a run; give another folder")
    run = Spec.from_json(found["run"], f"{path}: run")
    if not isinstance(run, Run):
        raise ValueError(f"{path} describes a {type(run).__name__}, not a Run")
    return run, found


def check_free(out: Path) -> None:
    """ValueError where a run cannot begin in `out` because it holds other files."""
    if not (out / "run.json").exists() and out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ValueError(f"{out} holds files but no run.json; give an empty or new folder for the run")


def cut(run: Run, before: Run | None) -> Run:
    """The run with batches cut into parts that the processes share: as many as when it began, or as there are processes."""
    began = {stage.name: stage.training.parts for stage in before.stages if stage.training is not None} if before is not None else {}

    def parted(stage: Stage) -> Stage:
        if stage.training is None or stage.training.parts > 1:  # as asked for
            return stage
        parts = began.get(stage.name, world_size())
        return stage.with_training(dataclasses.replace(stage.training, parts=parts if parts % world_size() == 0 else world_size()))

    return dataclasses.replace(run, stages=tuple(parted(stage) for stage in run.stages))


def differences(found: Any, wanted: Any, where: str) -> Iterator[str]:
    """A line for each field of two descriptions that differs, reasons aside: "run.prior.depth was 4, now 8"."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if key != "reasons":
                yield from differences(said(found, key), said(wanted, key), f"{where}.{key}")
    elif found != wanted:
        yield f"{where} was {found!r}, now {wanted!r}"


def _described(run: Run, images: ImageSet | Manifest, out: Path) -> dict[str, Any]:
    if isinstance(images, Folder):
        with ProgressBar("reading", len(images), "image", quick=True) as shown:
            images.contents(Contents.load(out / "images.npz"), shown.update)
    files = {name: checksum(path) for name, path in run.outside().items()}
    return {"run": run.to_json(), "images": images.fingerprint(), **files}


def _keep_contents(images: ImageSet | Manifest, out: Path) -> None:
    if isinstance(images, Folder) and not images.contents().same_looks(Contents.load(out / "images.npz")):
        images.contents().save(out / "images.npz")


def _check_images(out: Path, found: Any, images: ImageSet | Manifest, shaped: bool) -> None:
    """ValueError that says what was done to the images since the run began, if anything was. shaped: they are of the same size as then."""
    if shaped and found == images.fingerprint():
        return
    if shaped and isinstance(images, Folder) and found == images.times_fingerprint():
        return  # of an older run, which identified images by names, sizes and times
    before = Contents.load(out / "images.npz") if isinstance(images, Folder) else None
    changes = images.contents().changes(before) if isinstance(images, Folder) and before else ""
    if not changes and not shaped:
        return  # their size is a setting
    why = ""
    if isinstance(images, Folder):
        why = f": {changes or 'their classes, captions or order are others'}" if before else (
            ", or are read in another way (it knew them by their names, sizes and times)")  # fmt: skip
    raise ValueError(f"the images have changed since the run in {out} began{why}; put them back as they were, or give another folder")


def _check_outside(out: Path, run: Run, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, path in run.outside().items():
        if name in found and found[name] != wanted[name]:
            raise ValueError(f"{path} is not the file with which the run in {out} began; give that, or another folder")


def _shape(data: ImagesSpec) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name in SHAPE if (value := getattr(data, name, None)) is not None}


def _comparable(value: Any, device: str, by_contents: bool) -> Any:
    """A description, or a part of one, without the fields that do not change the result."""
    if not isinstance(value, dict):
        return value
    aside = set(HARMLESS)
    if not value.get("compile"):
        aside.add("recompute")  # the same bits, where nothing is compiled anew for it
    if value.get("type") == "TokenizerLosses" and value.get("discriminator") is None:
        aside |= ADVERSARIAL
    if by_contents and value.get("type") == "FileFeatures":
        aside.add("path")
    kept = {name: _comparable(held, device, by_contents) for name, held in value.items() if name not in aside}
    if kept.get("precision") == "auto":
        kept["precision"] = resolve("auto", device)
    return kept
