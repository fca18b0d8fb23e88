"""What a training folder is for: run.json, and whether a command may go on in it.

    out/run.json     {"run": the description, "images": a fingerprint of their contents, "features_file": that of a feature network's file,
                     "went_on": where steps were added}
    out/images.npz   checksums of the files of a folder of images, so that each is read once

Compared is what changes the pipeline that a run ends with. Where data lie, how often something is written down, and the run's name do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bitmosaic.folders import read_json, write_json
from bitmosaic.images import Folder, ImageSet
from bitmosaic.images.contents import Contents
from bitmosaic.nets.precision import resolve
from bitmosaic.spec import gone_of
from bitmosaic.train.more_steps import go_on, more_steps, with_more
from bitmosaic.train.processes import size
from bitmosaic.train.progress import Shown
from bitmosaic.train.run import FileFeatures, Run, TrainedFeatures
from bitmosaic.train.sealed import checksum
from bitmosaic.train.tokenized import Manifest
from bitmosaic.train.training import Training

HARMLESS = {"reasons", "name", "checkpoint_seconds", "keep", "pictures_every", "log_every"}  # fields of any part of a run
ADVERSARIAL = {"adversarial_start", "adversarial_weight", "discriminator_lead", "discriminator_rate", "diffaugment"}  # of a discriminator
SHAPE = ("size", "channels")  # of images: what else they are, their fingerprint says, wherever they lie


def claim(out: Path, run: Run, images: ImageSet | Manifest, say: Callable[[str], object] = str, device: str = "cpu") -> Run:
    """The run as it goes on in `out`: cut into parts, and written into run.json, or found to be the one that is there.

    ValueError that names what differs where `out` holds another run, or other images. More steps than before are taken, and told.
    """
    run, path = cut(run, out), out / "run.json"
    if not path.exists():
        check_free(out)
        wanted = _described(run, images, out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        _keep_contents(images, out)
        return run
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("run"), dict):
        raise ValueError(f"{path} is no description of a run; give another folder")
    wanted = {**found, **_described(run, images, out)}
    _check_images(out, found.get("images"), images, _shape(found["run"]) == _shape(wanted["run"]))
    _check_features_file(out, run, found, wanted)
    added, by_contents = more_steps(out, found["run"], run), "features_file" in found
    before, now = (
        {**_comparable(described, device, by_contents), "images": _shape(described)}
        for described in (with_more(found["run"], added), run.to_json())
    )
    different = list(differences(before, now, "run"))
    if different:
        raise ValueError(f"{out} holds another run ({'; '.join(different[:4])}); give the same settings, or another folder")
    if added:
        wanted["went_on"] = [*found.get("went_on", ()), *go_on(out, added, say)]
    if wanted != found:
        write_json(path, wanted)
    _keep_contents(images, out)
    return run


def check_free(out: Path) -> None:
    """ValueError where a run cannot begin in `out` since other things lie there."""
    if not (out / "run.json").exists() and out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ValueError(f"{out} holds files but no run.json; give an empty or new folder for the run")


def cut(run: Run, out: Path) -> Run:
    """The run with batches cut into parts that the processes can share: as it began in `out`, or as many as there are processes."""
    found = read_json(out / "run.json") if (out / "run.json").is_file() else {}
    held = found.get("run") if isinstance(found, dict) else None
    held = held if isinstance(held, dict) else {}

    def parted(training: Training, before: Any) -> Training:
        began = before.get("parts") if isinstance(before, dict) else None
        if training.parts > 1:  # as asked for
            return training
        return dataclasses.replace(training, parts=began if isinstance(began, int) and began > 0 and began % size() == 0 else size())

    names = ("tokenizer_training", "prior_training")
    changed: dict[str, Any] = {name: parted(getattr(run, name), held.get(name)) for name in names}
    if isinstance(run.features, TrainedFeatures):
        before = held.get("features")
        training = parted(run.features.training, before.get("training") if isinstance(before, dict) else None)
        changed["features"] = dataclasses.replace(run.features, training=training)
    return dataclasses.replace(run, **changed)


def differences(found: Any, wanted: Any, where: str) -> Iterator[str]:
    """A line for each field of two descriptions that differs, reasons aside: "run.prior.depth was 4, now 8"."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            if key != "reasons":
                yield from differences(found.get(key), wanted.get(key), f"{where}.{key}")
    elif found != wanted:
        yield f"{where} was {found!r}, now {wanted!r}"


def _described(run: Run, images: ImageSet | Manifest, out: Path) -> dict[str, Any]:
    if isinstance(images, Folder):
        with Shown("reading", len(images), "image", quick=True) as shown:
            images.contents(Contents.load(out / "images.npz"), shown.update)
    file = {"features_file": checksum(_file(run.features.path))} if isinstance(run.features, FileFeatures) else {}
    return {"run": run.to_json(), "images": images.fingerprint(), **file}


def _keep_contents(images: ImageSet | Manifest, out: Path) -> None:
    if isinstance(images, Folder) and not images.contents().same_looks(Contents.load(out / "images.npz")):
        images.contents().save(out / "images.npz")


def _check_images(out: Path, found: Any, images: ImageSet | Manifest, shaped: bool) -> None:
    """ValueError that says what was done to the images since the run began, if anything was. shaped: they are of the same size as then."""
    if shaped and found == images.fingerprint():
        return
    if shaped and isinstance(images, Folder) and found == images.times_fingerprint():
        return  # of a run that began when images were known by names, sizes and times
    before = Contents.load(out / "images.npz") if isinstance(images, Folder) else None
    changes = images.contents().changes(before) if isinstance(images, Folder) and before else ""
    if not changes and not shaped:
        return  # their size is a setting
    why = ""
    if isinstance(images, Folder):
        why = f": {changes or 'their classes, captions or order are others'}" if before else (
            ", or are read in another way (it knew them by their names, sizes and times)")  # fmt: skip
    raise ValueError(f"the images have changed since the run in {out} began{why}; put them back as they were, or give another folder")


def _check_features_file(out: Path, run: Run, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "features_file" in found and isinstance(run.features, FileFeatures) and found["features_file"] != wanted["features_file"]:
        raise ValueError(f"{run.features.path} is not the feature network with which the run in {out} began; give that, or another folder")


def _shape(described: dict[str, Any]) -> dict[str, Any]:
    images = described.get("images")
    return {name: images[name] for name in SHAPE if name in images} if isinstance(images, dict) else {}


def _file(path: str) -> Path:
    """The file of a feature network, which may be named as FILE.py:NAME."""
    file, _, name = path.partition(".py:")
    return Path(f"{file}.py" if name else path)


def _comparable(value: Any, device: str, by_contents: bool) -> Any:
    """A description, or a part of one, without what changes nothing in the result."""
    if not isinstance(value, dict):
        return value
    aside = set(HARMLESS)
    if not value.get("compile"):
        aside.add("recompute")  # the same bits, where nothing is compiled anew for it
    if value.get("type") == "TokenizerLosses" and value.get("discriminator") is None:
        aside |= ADVERSARIAL
    if by_contents and value.get("type") == "FileFeatures":
        aside.add("path")
    aside |= {name for name, now in gone_of(value).items() if value.get(name) == now}
    kept = {name: _comparable(held, device, by_contents) for name, held in value.items() if name not in aside}
    if kept.get("precision") == "auto":
        kept["precision"] = resolve("auto", device)
    return kept
