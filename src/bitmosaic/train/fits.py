"""Whether images, codes and a feature network fit a run; asked before anything is written."""

from __future__ import annotations

from pathlib import Path

import torch

from bitmosaic.codes import described
from bitmosaic.conditions import TextConditionSpec
from bitmosaic.images import ImageSet
from bitmosaic.images.specs import AnyFolderSpec
from bitmosaic.nets.feature_net import load_feature_net
from bitmosaic.train.run import Run, TrainedFeatures
from bitmosaic.train.tokenized import Manifest


def check_codes(run: Run, codes: Manifest) -> None:
    """ValueError where codes do not fit the run's prior."""
    if not codes.about["images"]:
        raise ValueError(f"codes: {codes.folder} holds no image; its manifest.json says what was wrong with those there were")
    if (run.prior.grid, run.prior.radix) != (codes.grid, codes.radix):
        raise ValueError(
            f"codes: {codes.grid} places, {described(codes.radix)}; the prior wants {run.prior.grid}, {described(run.prior.radix)}"
        )
    _check_captions(run, codes.captioned, "codes")
    wanted = getattr(run.prior.condition, "classes", 0)
    if wanted not in (0, len(codes.class_names)):
        raise ValueError(f"prior.condition.classes: got {wanted}, but the codes have {len(codes.class_names)} classes")


def check_fits(run: Run, images: ImageSet, out: Path) -> None:
    """ValueError where the images do not fit the run's parts, or where the run would write among its own images."""
    spec, classes = run.tokenizer, len(images.class_names)
    if tuple(images.size) != tuple(spec.image_size) or images.channels != spec.channels:
        raise ValueError(
            f"images of {images.size} with {images.channels} channels do not fit a tokenizer of {spec.image_size} with {spec.channels}"
        )
    _check_captions(run, images.captioned, "images")
    wanted = getattr(run.prior.condition, "classes", 0)
    if wanted not in (0, classes):
        raise ValueError(f"prior.condition.classes: got {wanted}, but the images have {classes} classes")
    if isinstance(run.features, TrainedFeatures) and (run.features.net.classes, run.features.net.channels) != (classes, images.channels):
        raise ValueError(f"features.net: needs {classes} classes and {images.channels} channels, as the images have")
    discriminator = run.tokenizer_losses.discriminator
    if discriminator is not None and discriminator.channels != images.channels:
        raise ValueError(f"discriminator.channels: got {discriminator.channels}, but the images have {images.channels}")
    if isinstance(run.images, AnyFolderSpec):
        data = Path(run.images.path).expanduser().resolve()
        if data in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"out: {out} lies inside the images in {data}, whose pictures it would become; give another folder")


def _check_captions(run: Run, captioned: bool, what: str) -> None:
    if isinstance(run.prior.condition, TextConditionSpec) and not captioned:
        raise ValueError(f"prior.condition: told by text, but the {what} have no captions; give --captions")


def check_features(path: str, images: ImageSet) -> None:
    """ValueError unless the network in a file gives feature maps of such images."""
    net, blank = load_feature_net(path), torch.zeros(1, images.channels, *images.size)
    try:
        with torch.inference_mode():
            maps = net.maps(blank)
        fits = all(isinstance(m, torch.Tensor) and m.ndim == 4 and len(m) == 1 for m in maps)
    except Exception as error:
        why = " ".join(f"{error}".split())[:200]
        raise ValueError(f"feature net {path}: fails on images of {tuple(blank.shape[1:])} ({type(error).__name__}: {why})") from error
    if not fits:
        raise ValueError(f"feature net {path}: want a list of feature maps (b, c, h, w) of images (b, {images.channels}, h, w)")
