"""The `folder` recipe: BiGR (arXiv 2410.14672) on any folder of images.

We differ in sizes, which are chosen from the images; each choice has its reason in `Run.reasons`, and every field can be overridden.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec, TextConditionSpec
from bitmosaic.conditions.text import SMALL
from bitmosaic.images.captions import captions_of
from bitmosaic.images.folder import look
from bitmosaic.images.scan import scan
from bitmosaic.images.specs import CodesSpec, FlatFolderSpec, FolderSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import DEFAULT
from bitmosaic.systems.quantized import quantized
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.run import Reason, Run, retold
from bitmosaic.train.stages import CodesStage, FeaturesStage, FileFeatures, PriorStage, TokenizerStage, TrainedFeatures
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training

SIDES = (32, 64, 128, 256)
LARGEST_ON_CPU = 64
BATCH, PRIOR_BATCH = 16, 32
FOR_FEATURES, FOR_PATCHGAN = 2000, 200  # the fewest images that a feature network, and a discriminator, are trained on
Tell = Callable[[Run], str]  # a reason, worded with the values of a run
MULTIPLIERS = {32: (1, 2, 4), 64: (1, 1, 2, 4), 128: (1, 1, 2, 4), 256: (1, 1, 2, 2, 4)}  # places are 4, 8, 8, 16 pixels wide


def folder(
    data: str, size: int | None = None, channels: int | None = None, bits: int | None = None, perceptual: str = "",
    flip: bool = True, minutes: float | None = None, seed: int = 0, classes: bool = True, captions: str = "", quantizer: str = "",
) -> Run:  # fmt: skip
    """A tokenizer and a prior for a folder of images; sub-folders are classes.

    data: the folder. size: side in pixels, 32, 64, 128 or 256 (None: from the images). channels: 1 grey, 3 colour (None: from the
    images). bits: K of a place (None: from their number). perceptual: file of a feature network (empty: one is trained where there
    are classes and images enough). flip: mirror images left to right. minutes: about how long to train on two CPU cores (None: from
    the number of images). seed: of weights, batches and every other draw. classes: sub-folders are classes; where not, all images below
    the folder are taken, without classes. captions: texts that the prior is conditioned on instead of classes; "beside" where name.txt
    lies beside name.png, or a CSV or JSON Lines file of them. quantizer: a scheme such as fsq, lfq, simvq or residual, around which a
    VQGAN is trained with a prior that fits its digits (empty: the binary autoencoder, and BiGR). ValueError for what is none of these.
    """
    found = scan(Path(data), classes)
    files, class_names = found.files, found.class_names
    sides, colour = look(files[:: max(1, len(files) // 100)])
    told = captions_of(captions, found).told() if captions else []
    lines: list[str | Tell] = [f"{len(files)} images, {len(class_names) or 'no'} classes", *found.told(), *told]
    side = chosen_size(size, sides, lines)
    channels = chosen_channels(channels, colour, lines)
    multipliers = MULTIPLIERS[side]
    places = side // 2 ** (len(multipliers) - 1)
    lines.append(_places)
    bits = _bits(bits, len(files), lines)
    width, depth, rate = (192, 4, 1e-3) if len(files) < 5000 else (256, 6, 8e-4) if len(files) < 100_000 else (512, 12, 3e-4)
    lines += [lambda run: f"prior: {run.prior.depth} blocks of {run.prior.width}, for {len(files)} images; more images bear more", _classes]
    lines.append(lambda run: "mirrored images too, since most things have no handedness; --no-flip for letters and the like" if run.flip
                 else "" if isinstance(run.data, CodesSpec) else "no flips")  # fmt: skip
    tokenizer_steps, prior_steps = _steps(minutes, len(files), side, lines)
    features, losses = _losses(perceptual, files, class_names, channels, tokenizer_steps, lines)
    if len(files) < 1000:
        lines.append(f"{len(files)} images are few: expect the prior to repeat them rather than to invent")
    tokenizer = TokenizerStage(
        tokenizer=BinaryAutoencoderSpec((side, side), channels, bits, 32, multipliers, 1, (places,), 64, groups=8),
        tokenizer_losses=losses,
        tokenizer_training=Training(
            steps=tokenizer_steps, batch_size=BATCH, learning_rate=6e-4, warmup_steps=50, decay="cosine", betas=(0.5, 0.95),
            ema_decay=0.99, precision="auto", seed=seed, pictures_every=250, checkpoint_seconds=30,
        ),
    )  # fmt: skip
    prior = PriorStage(
        prior=MaskedPriorSpec(
            (places, places), bits, depth, width // 64, width,
            SMALL if captions else ClassConditionSpec(len(class_names)) if class_names else NoConditionSpec(),
            BernoulliDiffusionSpec(width, 3),
        ),
        prior_training=Training(
            steps=prior_steps, batch_size=PRIOR_BATCH, learning_rate=rate, warmup_steps=100, decay="cosine", weight_decay=2e-2,
            ema_decay=0.995, precision="auto", seed=seed, pictures_every=500, checkpoint_seconds=30,
        ),
        sampler=DEFAULT if class_names or captions else replace(DEFAULT, guidance_scale=1.0, unguided=0.0),
    )  # fmt: skip
    images = (FolderSpec if classes else FlatFolderSpec)(str(data), (side, side), channels, captions)
    stages = (*([FeaturesStage(features)] if features is not None else []), tokenizer, CodesStage(code_draws=4), prior)
    run = Run("folder", images, stages, flip)
    run = replace(run, reasons=retold([Reason.of(line, run) if callable(line) else line for line in lines], run))
    return quantized(run, quantizer) if quantizer else run


def chosen_size(size: int | None, sides: list[int], lines: list[str | Tell]) -> int:
    """The side in pixels: `size`, or else chosen from the images' shorter sides. Appends the reason to `lines`. ValueError for a size
    that is not one of SIDES.
    """
    if size is not None:
        if size not in SIDES:
            raise ValueError(f"size: got {size}; give one of {', '.join(map(str, SIDES))}")
        lines.append(f"size {size}: as asked for")
        return size
    middle = statistics.median(sides)
    gpu = torch.cuda.is_available()
    chosen = max([s for s in SIDES if s <= middle and (gpu or s <= LARGEST_ON_CPU)], default=SIDES[0])
    larger = [s for s in SIDES if chosen < s <= middle]
    slow = f", and beyond {LARGEST_ON_CPU} CPU cores are slow; --size {' or '.join(map(str, larger))} if there is time" if larger else ""
    lines.append(f"size {chosen}: half of the images that were looked at have a shorter side of {middle:g} pixels or more{slow}")
    return chosen


def _places(run: Run) -> str:
    (height, width), factor = run.tokenizer.grid, run.tokenizer.factor
    return f"{height} x {width} places of {factor} x {factor} pixels: few enough for a prior to see all of them at once"


def _classes(run: Run) -> str:
    count, scale = getattr(run.prior.condition, "classes", 0), getattr(run.sampler, "guidance_scale", 1.0)
    if isinstance(text := run.prior.condition, TextConditionSpec):
        encoder = f"{text.depth} blocks of {text.width} over up to {text.length} tokens"
        return f"the prior is told captions, by {encoder}, with guidance {scale:g}"
    if not count:
        return "the prior is told no classes, so there is no guidance"
    few = "" if count > 1 else "; with a single one there is nothing to guide towards"
    return f"{count} sub-folders with images are the classes that the prior is told, with guidance {scale:g}{few}"


def chosen_channels(channels: int | None, colour: bool, lines: list[str | Tell]) -> int:
    if channels not in (None, 1, 3):
        raise ValueError(f"channels: got {channels}; want 1 (grey) or 3 (colour)")
    chosen = channels or (3 if colour else 1)
    why = "as asked for" if channels else "some of the images have colour" if colour else "no image that was looked at has colour"
    lines.append(f"channels {chosen}: {why}")
    return chosen


def _bits(bits: int | None, images: int, lines: list[str | Tell]) -> int:
    if bits is not None and bits < 1:
        raise ValueError(f"bits: got {bits}; give at least 1")
    own = 16 if images < 5000 else 24
    why = "few images, so a code that a prior learns easily" if own == 16 else "enough images for a fine code"

    def tell(run: Run) -> str:
        if set(run.prior.radix) != {2}:
            return ""
        count = len(run.prior.radix)
        reason = "those of the codes" if isinstance(run.data, CodesSpec) else why if bits is None and count == own else "as asked for"
        return f"bits {count}: {reason}"

    lines.append(tell)
    return own if bits is None else bits


def _steps(minutes: float | None, images: int, side: int, lines: list[str | Tell]) -> tuple[int, int]:
    """Steps of tokenizer and prior that take about so many minutes.

    Seconds a step on two cores are those measured on one (0.18, 0.39, 1.15 and 0.20, 0.24, 0.80 up to 128 px) divided by 1.6, the
    speed-up of the second core; at 256 px extrapolated by the number of pixels and places.
    """
    step = {32: 0.11, 64: 0.24, 128: 0.7, 256: 2.8}[side]
    prior_step = {32: 0.12, 64: 0.15, 128: 0.5, 256: 0.5}[side]
    if minutes is not None and not 0 < minutes < 1e6:
        raise ValueError(f"minutes: got {minutes}; want a positive number")
    why = f"from {images} images" if minutes is None else "as asked for"
    minutes = min(240.0, max(12.0, 12.0 + images / 200)) if minutes is None else minutes

    def tell(run: Run) -> str:
        if isinstance(run.data, CodesSpec):
            return f"{run.prior_training.steps} prior steps"
        first, second = run.tokenizer_training, run.prior_training
        seconds = first.steps * step * first.batch_size / BATCH + second.steps * prior_step * second.batch_size / PRIOR_BATCH
        beside = ", besides the feature network's" if isinstance(getattr(run, "features", None), TrainedFeatures) else ""
        minutes = max(1, round(seconds / 60))
        return (f"{first.steps} tokenizer steps and {second.steps} prior steps: about {minutes} minute{'s'[: minutes > 1]} on two "
                f"CPU cores that multiply bf16, about three times that on others{beside}; {why}")  # fmt: skip

    lines.append(tell)
    return max(20, int(0.55 * 60 * minutes / step)), max(20, int(0.45 * 60 * minutes / prior_step))


def _losses(perceptual: str, files, class_names, channels: int, steps: int, lines: list[str | Tell]):
    """The feature network, None where there is none, and the tokenizer's losses. Appends their reasons to `lines`."""
    features: FileFeatures | TrainedFeatures | None = None
    if perceptual:
        features = FileFeatures(perceptual)
    elif len(class_names) > 1 and len(files) >= FOR_FEATURES:
        net = ConvClassifierSpec(channels, len(class_names), (32, 64, 128))
        features = TrainedFeatures(net, Training(
            steps=1000, batch_size=64, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2, ema_decay=0.99,
            precision="auto"))  # fmt: skip
    lines += [_perceptual, lambda run: _adversary(run, len(files))]
    return features, TokenizerLosses(
        squared_weight=4.0, perceptual_weight=0.1 if features else 0.0,
        discriminator=PatchGANSpec(channels, 32, 3) if len(files) >= FOR_PATCHGAN else None,
        adversarial_start=3 * steps // 5, adversarial_weight=0.5, discriminator_lead=100, discriminator_rate=0.4,
    )  # fmt: skip


def _perceptual(run: Run) -> str:
    if isinstance(run.data, CodesSpec):
        return ""
    if isinstance(getattr(run, "features", None), FileFeatures):
        return f"perceptual distance over {run.features.path}"
    if hasattr(run, "features"):
        return "perceptual distance over a classifier of these classes, trained first"
    return f"no perceptual distance: it needs --perceptual FILE, or classes and {FOR_FEATURES} images to train a network on"


def _adversary(run: Run, images: int) -> str:
    if isinstance(run.data, CodesSpec):
        return ""
    start, steps = run.tokenizer_losses.adversarial_start, run.tokenizer_training.steps
    if run.tokenizer_losses.discriminator is not None:
        return f"PatchGAN from step {start} of the tokenizer's {steps} on, for sharpness" if start < steps else ""
    return f"no PatchGAN: fewer than {FOR_PATCHGAN} images teach it nothing but themselves" if images < FOR_PATCHGAN else ""
