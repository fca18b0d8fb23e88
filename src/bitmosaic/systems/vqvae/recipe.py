"""The `sound` and `clips` recipes: a VQ-VAE (van den Oord et al., arXiv 1711.00937) and MaskGIT's prior (arXiv 2202.04200) for folders of
sounds or short films.

We differ from Jukebox (arXiv 2005.00341) and VideoGPT (arXiv 2104.10157), which do this with causal priors, in the prior and in SimVQ's
codebook, of which no codeword dies; sizes are for two CPU cores.
"""

from __future__ import annotations

import math

from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec
from bitmosaic.images.scan import scan
from bitmosaic.media import Clips, Medium, Waves
from bitmosaic.media.folder import SignalFolderSpec
from bitmosaic.priors.maskgit import MaskGITSpec
from bitmosaic.quantizers.simvq import SimVQSpec
from bitmosaic.samplers import MaskGITSamplerSpec
from bitmosaic.systems.quantized import TEMPERATURE
from bitmosaic.tokenizers.vqvae import VQVAESpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, PriorStage, TokenizerStage
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training

BATCH = 16
GUIDANCE = 2.0  # of MaskGIT's sampling
LOUD = 40.0  # weight of the squared error of sounds, whose power is a hundredth of a full-scale signal's: with 4 all codes collapse to one
PLACE = 7e-5  # seconds of a core for one place of an example in a step of the prior (docs/media.md)
POINT = {"sound": 7e-6, "clips": 1.2e-6}  # likewise for one value of a sound or a clip in a step of the tokenizer


def sound(
    data: str, seconds: float = 0.5, rate: int = 8000, channels: int = 1, factor: int = 8, codewords: int = 512, minutes: float = 20.0,
    seed: int = 0, classes: bool = True,
) -> Run:  # fmt: skip
    """A VQ-VAE and MaskGIT's prior for a folder of sounds (WAV, FLAC, Ogg, MP3); sub-folders are classes.

    data: the folder. seconds: of a piece; longer files are cut into pieces. rate: samples a second; files of other rates are resampled.
    channels: 1 mono, 2 stereo. factor: samples of a place, a power of two. codewords: of the codebook. minutes: about how long to train
    on one CPU core. seed: of weights, batches and every other draw. classes: sub-folders are classes; where not, all files below the
    folder are taken, without classes.
    """
    if not 0 < seconds <= 3600:
        raise ValueError(f"seconds: got {seconds}; want a positive number, at most 3,600")
    if not 2 <= factor <= 2**12:
        raise ValueError(f"factor: got {factor}; want a power of two, at most 4,096")
    size = max(4, round(seconds * rate / factor)) * factor
    losses = TokenizerLosses(squared_weight=LOUD, spectral_weight=0.05)
    return _run("sound", data, Waves(rate), (size,), channels, (factor,), codewords, 3, losses, minutes, seed, classes)


def clips(
    data: str, frames: int = 8, size: int = 32, channels: int = 3, codewords: int = 512, minutes: float = 30.0, seed: int = 0,
    classes: bool = True,
) -> Run:  # fmt: skip
    """A VQ-VAE and MaskGIT's prior for a folder of short films (animated GIF, WebP, PNG); sub-folders are classes.

    data: the folder. frames: of a clip, an even number; longer films are cut into clips. size: side in pixels, a multiple of 4. channels: 1
    grey, 3 colour. codewords: of the codebook. minutes: about how long to train on one CPU core. seed: of weights, batches and every
    other draw. classes: sub-folders are classes; where not, all files below the folder are taken, without classes.
    """
    if frames < 2 or frames % 2 or size < 8 or size % 4:
        raise ValueError(f"frames, size: got {frames}, {size}; want an even number of frames, and a multiple of 4 pixels, at least 8")
    losses = TokenizerLosses(squared_weight=4.0)
    return _run("clips", data, Clips(), (frames, size, size), channels, (2, 4, 4), codewords, 1, losses, minutes, seed, classes)


def _run(
    name: str, data: str, medium: Medium, size: tuple[int, ...], channels: int, factors: tuple[int, ...], codewords: int, dilation: int,
    losses: TokenizerLosses, minutes: float, seed: int, classes: bool,
) -> Run:  # fmt: skip
    if not 0 < minutes < 1e6:
        raise ValueError(f"minutes: got {minutes}; want a positive number")
    found = scan(data, classes, known=medium.endings)
    count = len(found.class_names)
    tokenizer = VQVAESpec(medium, size, channels, factors, SimVQSpec(codewords, 32), 48, 2, dilation)
    width, condition = 192, ClassConditionSpec(count) if count else NoConditionSpec()
    steps = max(20, int(30 * minutes / (BATCH * POINT[name] * math.prod(size) * channels)))
    prior_steps = max(20, int(30 * minutes / (2 * BATCH * PLACE * math.prod(tokenizer.grid))))
    common = {"warmup_steps": 100, "decay": "cosine", "precision": "auto", "seed": seed, "checkpoint_seconds": 30}
    stages = (
        TokenizerStage(tokenizer, losses, Training(
            steps=steps, batch_size=BATCH, learning_rate=1e-3, betas=(0.5, 0.95), ema_decay=0.99, pictures_every=250, **common)),
        CodesStage(),
        PriorStage(
            MaskGITSpec(tokenizer.grid, codewords, 5, width // 64, width, condition, 4 * width),
            prior_training=Training(
                steps=prior_steps, batch_size=2 * BATCH, learning_rate=1e-3, weight_decay=2e-2, ema_decay=0.995, pictures_every=500,
                **common),
            sampler=MaskGITSamplerSpec(guidance_scale=GUIDANCE if count else 1.0, temperature=TEMPERATURE),
        ),
    )  # fmt: skip
    source = SignalFolderSpec(str(data), medium, size, channels, classes)
    reasons = (
        f"{medium.about(size)} -> {' x '.join(map(str, tokenizer.grid))} places of one of {codewords:,} codewords",
        f"{steps:,} tokenizer steps and {prior_steps:,} prior steps: about {minutes:g} minutes of one core",
    )
    return Run(name, source, stages, False, reasons)
