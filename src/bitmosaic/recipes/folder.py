"""The `folder` recipe: BiGR (arXiv 2410.14672) on any folder of images, with sizes chosen from what is in it.

Every choice comes with its reason in `Run.reasons`, and every field of the Run is open to override.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import torch

from bitmosaic.images.folder import look
from bitmosaic.images.scan import scan
from bitmosaic.images.specs import FlatFolderSpec, FolderSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import DEFAULT
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.run import FileFeatures, Run, TrainedFeatures
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training

SIDES = (32, 64, 128, 256)
MULTIPLIERS = {32: (1, 2, 4), 64: (1, 1, 2, 4), 128: (1, 1, 2, 4), 256: (1, 1, 2, 2, 4)}  # places are 4, 8, 8, 16 pixels wide


def folder(
    data: str, size: int | None = None, channels: int | None = None, bits: int | None = None, perceptual: str = "",
    flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True,
) -> Run:  # fmt: skip
    """A tokenizer and a prior for a folder of images; sub-folders are classes.

    data: the folder. size: side in pixels, 32, 64, 128 or 256 (None: from the images). channels: 1 grey, 3 colour (None: from the
    images). bits: K of a place (None: from their number). perceptual: file of a feature network (empty: one is trained where there
    are classes and images enough). flip: mirror images left to right. minutes: about how long to train on two CPU cores (None: from
    the number of images). classes: sub-folders are classes; where not, all images below the folder are taken, without classes.
    """
    found = scan(Path(data), classes)
    files, class_names = found.files, found.class_names
    sides, colour = look(files[:: max(1, len(files) // 100)])
    reasons = [f"{len(files)} images, {len(class_names) or 'no'} classes", *found.told()]
    side = _size(size, sides, reasons)
    channels = _channels(channels, colour, reasons)
    multipliers = MULTIPLIERS[side]
    factor = 2 ** (len(multipliers) - 1)
    places = side // factor
    reasons.append(f"{places} x {places} places of {factor} x {factor} pixels: few enough for a prior to see all of them at once")
    bits = _bits(bits, len(files), reasons)
    width, depth, rate = (192, 4, 1e-3) if len(files) < 5000 else (256, 6, 8e-4) if len(files) < 100_000 else (512, 12, 3e-4)
    reasons.append(f"prior: {depth} blocks of {width}, for {len(files)} images; more images bear more")
    reasons.append(_classes(class_names))
    reasons.append("mirrored images too, since most things have no handedness; --no-flip for letters and the like" if flip else "no flips")
    tokenizer_steps, prior_steps = _steps(minutes, len(files), side, reasons)
    features, losses = _losses(perceptual, files, class_names, channels, tokenizer_steps, side, reasons)
    if len(files) < 1000:
        reasons.append(f"{len(files)} images are few: expect the prior to repeat them rather than to invent")
    attention = (places,)
    return Run(
        name="folder",
        images=(FolderSpec if classes else FlatFolderSpec)(str(data), (side, side), channels),
        flip=flip,
        features=features,
        tokenizer=BinaryAutoencoderSpec((side, side), channels, bits, 32, multipliers, 1, attention, 64, groups=8),
        tokenizer_losses=losses,
        tokenizer_training=Training(
            steps=tokenizer_steps, batch_size=16, learning_rate=6e-4, warmup_steps=50, decay="cosine", betas=(0.5, 0.95),
            ema_decay=0.99, precision="auto", seed=seed, pictures_every=250, checkpoint_seconds=30,
        ),
        code_draws=4,
        prior=MaskedPriorSpec(
            (places, places), bits, depth, width // 64, width,
            ClassConditionSpec(len(class_names)) if class_names else NoConditionSpec(), BernoulliDiffusionSpec(width, 3),
        ),
        prior_training=Training(
            steps=prior_steps, batch_size=32, learning_rate=rate, warmup_steps=100, decay="cosine", weight_decay=2e-2,
            ema_decay=0.995, precision="auto", seed=seed, pictures_every=500, checkpoint_seconds=30,
        ),
        sampler=DEFAULT if class_names else replace(DEFAULT, guidance_scale=1.0, unguided=0.0),
        reasons=tuple(reasons),
    )  # fmt: skip


def _size(size: int | None, sides: list[int], reasons: list[str]) -> int:
    if size is not None:
        if size not in SIDES:
            raise ValueError(f"size: got {size}; this recipe knows {', '.join(map(str, SIDES))}")
        reasons.append(f"size {size}: as asked for")
        return size
    middle = statistics.median(sides)
    gpu = torch.cuda.is_available()
    chosen = max([s for s in SIDES if s <= middle and (gpu or s <= 64)], default=SIDES[0])
    slow = "" if gpu or middle < 128 else ", and beyond 64 CPU cores are slow; --size 128 or 256 if you have the time"
    reasons.append(f"size {chosen}: half of the images have a shorter side of {middle:g} pixels or more{slow}")
    return chosen


def _classes(names) -> str:
    if not names:
        return "no sub-folders, so the prior has no classes and no guidance"
    few = "" if len(names) > 1 else "; with a single one there is nothing to guide towards"
    return f"{len(names)} sub-folders with images are the classes that the prior is told, with guidance {DEFAULT.guidance_scale:g}{few}"


def _channels(channels: int | None, colour: bool, reasons: list[str]) -> int:
    if channels not in (None, 1, 3):
        raise ValueError(f"channels: got {channels}; want 1 (grey) or 3 (colour)")
    reasons.append(f"channels {channels}: as asked for" if channels else f"channels {3 if colour else 1}: " + (
        "some of the images have colour" if colour else "no image that was looked at has colour"))  # fmt: skip
    return channels or (3 if colour else 1)


def _bits(bits: int | None, images: int, reasons: list[str]) -> int:
    if bits is not None:
        if bits < 1:
            raise ValueError(f"bits: got {bits}; a place needs at least one")
        reasons.append(f"bits {bits}: as asked for")
        return bits
    chosen = 16 if images < 5000 else 24
    why = "few images, so a code that a prior learns easily" if chosen == 16 else "enough images for a fine code"
    reasons.append(f"bits {chosen}: {why}")
    return chosen


def _steps(minutes: float | None, images: int, side: int, reasons: list[str]) -> tuple[int, int]:
    """Steps of tokenizer and prior for so many minutes.

    Seconds a step on two cores: measured on one (0.18, 0.39, 1.15 and 0.20, 0.24, 0.80 up to 128 px) over 1.6, the gain of the
    second; 256 px by the number of pixels and places.
    """
    step = {32: 0.11, 64: 0.24, 128: 0.7, 256: 2.8}[side]
    prior_step = {32: 0.12, 64: 0.15, 128: 0.5, 256: 0.5}[side]
    if minutes is None:
        minutes = min(240.0, max(12.0, 12.0 + images / 200))
        why = f"from {images} images"
    else:
        if not 0 < minutes < 1e6:
            raise ValueError(f"minutes: got {minutes}; want a positive number")
        why = "as asked for"
    tokenizer, prior = max(20, int(0.55 * 60 * minutes / step)), max(20, int(0.45 * 60 * minutes / prior_step))
    reasons.append(f"{tokenizer} tokenizer steps and {prior} prior steps: about {minutes:.0f} minutes on two CPU cores "
                   f"that multiply bf16, about three times that on others, besides the feature network's; {why}")
    return tokenizer, prior


def _losses(perceptual: str, files, class_names, channels: int, steps: int, side: int, reasons: list[str]):
    """The feature network, and the losses of the tokenizer."""
    if perceptual:
        features = FileFeatures(perceptual)
        reasons.append(f"perceptual distance over {perceptual}")
    elif len(class_names) > 1 and len(files) >= 2000:
        net = ConvClassifierSpec(channels, len(class_names), (32, 64, 128))
        features = TrainedFeatures(net, Training(
            steps=1000, batch_size=64, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2, ema_decay=0.99,
            precision="auto"))  # fmt: skip
        reasons.append("perceptual distance over a classifier of these classes, trained first")
    else:
        features = None
        reasons.append("no perceptual distance: it needs --perceptual FILE, or classes and 2000 images to train a network on")
    discriminator = None
    if len(files) >= 200:
        discriminator = PatchGANSpec(channels, 32, 3)
        reasons.append("PatchGAN from three fifths of the tokenizer's steps on, for sharpness")
    else:
        reasons.append("no PatchGAN: fewer than 200 images teach it nothing but themselves")
    return features, TokenizerLosses(
        squared_weight=4.0, perceptual_weight=0.1 if features else 0.0, discriminator=discriminator,
        adversarial_start=3 * steps // 5, adversarial_weight=0.5, discriminator_lead=100, discriminator_rate=0.4,
    )  # fmt: skip
