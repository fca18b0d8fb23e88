"""The `jpeg` recipe: a causal Llama over the bytes of JPEG files (JPEG-LM, Han et al., arXiv 2408.08459).

We differ in bytes instead of byte pairs, in an optional class condition, and in sizes for two CPU cores. Only the prior is trained.
"""

from __future__ import annotations

from pathlib import Path

from bitmosaic.codes import lengths
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images.folder import look
from bitmosaic.images.read import UnreadableImage, read_image
from bitmosaic.images.scan import scan
from bitmosaic.images.specs import FlatFolderSpec, FolderSpec
from bitmosaic.priors.llamagen import LlamaGenSpec
from bitmosaic.samplers import LlamaGenSamplerSpec
from bitmosaic.systems.bigr.folder import chosen_channels, chosen_size
from bitmosaic.tokenizers.jpeg_bytes import END, JPEGBytesSpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, FixedTokenizerStage, PriorStage
from bitmosaic.train.training import Training

LOOKED_AT, LONGEST = 500, 16_384  # images whose bytes are counted; most places of a code
BATCH, PLACE = 16, 1.3e-4  # images of a batch; seconds of a core for one place of an image in a step (docs/media.md)
GUIDANCE, TOP_P = 1.5, 0.95


def jpeg(
    data: str, size: int | None = None, channels: int | None = None, quality: int = 25, restart: int = 1, minutes: float = 60.0,
    seed: int = 0, classes: bool = True,
) -> Run:  # fmt: skip
    """A causal prior over the bytes of JPEG files, which needs no tokenizer to be trained; sub-folders are classes.

    data: a folder of images. size: side in pixels (None: from the images). channels: 1 grey, 3 colour (None: from the images). quality: of
    JPEG, 1 to 95. restart: blocks between restart markers; 0: none, which makes shorter files. minutes: about how long to train on one
    CPU core. classes: sub-folders are classes; where not, all images below the folder are taken, without classes.
    """
    if not 0 < minutes < 1e6:
        raise ValueError(f"minutes: got {minutes}; want a positive number")
    found, lines = scan(Path(data), classes), []
    some = found.files[:: max(1, len(found.files) // LOOKED_AT)]
    sides, colour = look(some[:100])
    side = size if size is not None else chosen_size(None, sides, lines)
    colours = chosen_channels(channels, colour, lines)
    counts = byte_counts(JPEGBytesSpec((side, side), colours, LONGEST, quality, restart), some)
    length = -(-(max(counts) + 1) // 16) * 16  # rounded up, since images that were not counted may be longer
    tokenizer = JPEGBytesSpec((side, side), colours, length, quality, restart)
    count, width = len(found.class_names), 192
    steps = max(20, int(60 * minutes / (BATCH * PLACE * length)))
    prior = PriorStage(
        LlamaGenSpec((length,), END + 1, 6, width // 64, width, ClassConditionSpec(count) if count else NoConditionSpec(), 64, END),
        prior_training=Training(
            steps=steps, batch_size=BATCH, learning_rate=1e-3, warmup_steps=100, decay="cosine", weight_decay=2e-2, ema_decay=0.995,
            precision="auto", seed=seed, pictures_every=1000, checkpoint_seconds=30),
        sampler=LlamaGenSamplerSpec(GUIDANCE if count > 1 else 1.0, top_p=TOP_P),
    )  # fmt: skip
    lines += [
        f"length {length}: files of {min(counts):,} to {max(counts):,} bytes, without headers; what is longer is cut off",
        f"{steps:,} steps: about {minutes:g} minutes of one core",
    ]
    images = (FolderSpec if classes else FlatFolderSpec)(str(data), (side, side), colours)
    return Run("jpeg", images, (FixedTokenizerStage(tokenizer), CodesStage(), prior), False, tuple(lines))


def byte_counts(spec: JPEGBytesSpec, files: list[Path]) -> list[int]:
    """The number of bytes, without headers, of each readable picture as JPEG. ValueError where none can be read."""
    tokenizer, found = spec.build(), []
    for file in files:
        try:
            image = read_image(file, spec.image_size, spec.channels)
        except UnreadableImage:
            continue
        found += lengths(tokenizer.encode(image[None].float() / 255), END)
    if not found:
        raise ValueError(f"data: none of {len(files)} pictures that were tried can be read; give a folder of pictures that are whole")
    return found
