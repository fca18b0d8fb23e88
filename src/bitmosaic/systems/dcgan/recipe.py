"""The `dcgan` recipe: a class-conditional DCGAN (Radford et al., arXiv 1511.06434) with what has made GANs stable since.

Spectral normalisation (arXiv 1802.05957) and projection (1802.05637) in the discriminator, hinge losses, lazy R1 (1801.04406, 1912.04958),
DiffAugment (2006.10738), an average with a ramp. We differ in sizes, chosen for CPU cores, and in leaving out batch normalisation of the
discriminator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.generators import DCGANSpec
from bitmosaic.images.folder import look
from bitmosaic.images.scan import scan
from bitmosaic.images.specs import FashionMNISTSpec, FlatFolderSpec, FolderSpec
from bitmosaic.nets.discriminators.deep_conv import DeepConvDiscriminatorSpec
from bitmosaic.systems.bigr.folder import chosen_channels, chosen_size
from bitmosaic.train.adversarial_game import AdversarialLosses
from bitmosaic.train.averages import EMASpec
from bitmosaic.train.optimizers import AdamSpec
from bitmosaic.train.run import Reason, Run, retold
from bitmosaic.train.stages import GeneratorStage
from bitmosaic.train.training import AdversarialTraining, Player

FASHION = "fashion-mnist"
STARTS = (4, 5, 6, 7)  # pixels of a side before the first level
BATCH = 32
SECONDS = 0.27  # a step at 28 x 28 grey pixels on one core of a Xeon with AMX, in bf16; about twice that in float32


def dcgan(
    data: str = FASHION, size: int | None = None, channels: int | None = None, flip: bool = False, minutes: float = 10.0, seed: int = 0,
    classes: bool = True,
) -> Run:  # fmt: skip
    """A generator of pictures from noise and a class, without codes: it draws in one pass, and cannot edit.

    data: "fashion-mnist", or a folder of images; sub-folders are classes. size: side in pixels, 4, 5, 6 or 7 times a power of two
    (None: from the images). channels: 1 grey, 3 colour (None: from the images). flip: mirror images left to right. minutes: about how
    long to train on one CPU core. seed: of weights, batches and every other draw. classes: sub-folders are classes; where not, all images
    below the folder are taken, without classes.
    """
    lines: list = []
    if data == FASHION:
        images, names, side, colours = FashionMNISTSpec(), 10, size or 28, channels or 1
        if (side, colours) != (28, 1):
            raise ValueError(f"size, channels: got {side}, {colours}; Fashion-MNIST has 28 and 1: leave them out, or give a folder as data")
    else:
        found = scan(Path(data), classes)
        sides, colour = look(found.files[:: max(1, len(found.files) // 100)])
        names = len(found.class_names)
        lines += [f"{len(found.files)} images, {names or 'no'} classes", *found.told()]
        side = size if size is not None else chosen_size(None, sides, lines)
        colours = chosen_channels(channels, colour, lines)
        images = (FolderSpec if classes else FlatFolderSpec)(data, (side, side), colours)
    levels = _levels(side)
    lines.append(lambda run: f"{run.generator.levels} levels that double {run.generator.image_size[0] // 2**run.generator.levels} pixels")
    condition = ClassConditionSpec(names) if names > 1 else NoConditionSpec()
    steps = _steps(minutes, side, lines)
    adam = AdamSpec(betas=(0.0, 0.9))
    stage = GeneratorStage(
        generator=DCGANSpec((side, side), colours, 64, condition, width=32, levels=levels, embedding=32),
        discriminator=DeepConvDiscriminatorSpec((side, side), colours, getattr(condition, "classes", 0), width=32, levels=levels),
        generator_losses=AdversarialLosses(r1_weight=0.1, r1_every=16),
        generator_training=AdversarialTraining(
            steps=steps, batch_size=BATCH, precision="auto", seed=seed, log_every=20, pictures_every=250, checkpoint_seconds=30,
            generator=Player(adam, 5e-4, clip_norm=0.0, average=EMASpec(0.999, ramp=0.05)),
            discriminator=Player(adam, 5e-4, clip_norm=0.0, average=EMASpec(0.999, ramp=0.05)),
        ),
    )  # fmt: skip
    run = Run("dcgan", images, (stage,), flip)
    return replace(run, reasons=retold([Reason.of(line, run) if callable(line) else line for line in lines], run))


def _levels(side: int) -> int:
    """How often the first level's side is doubled. ValueError for a side that is not one of STARTS times a power of two."""
    levels = next((n for n in range(1, 9) if side % 2**n == 0 and side // 2**n in STARTS), None)
    if levels is None:
        raise ValueError(f"size: got {side}; give 4, 5, 6 or 7 times a power of two, such as 28, 32, 48 or 64")
    return levels


def _steps(minutes: float, side: int, lines: list) -> int:
    """Training steps in about so many minutes of one core; a step's time is taken as proportional to the pixels of an image."""
    if not 0 < minutes < 1e6:
        raise ValueError(f"minutes: got {minutes}; want a positive number")
    seconds = SECONDS * (side / 28) ** 2

    def tell(run: Run) -> str:
        steps = run.generator_training.steps
        about = max(1, round(steps * seconds / 60))
        return f"{steps} steps of {run.generator_training.batch_size} images: about {about} minute{'s'[: about > 1]} of one core"

    lines.append(tell)
    return max(20, int(60 * minutes / seconds))
