"""The published sizes of BiGR (Hao et al., arXiv 2410.14672): four tokenizers at 256 px, one at 512, priors L, XL, XXL and L-512.

We differ where nothing was published: the tokenizer's training follows Binary Latent Diffusion (arXiv 2304.04820).
"""

from __future__ import annotations

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.images.specs import FolderSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, FeaturesStage, FileFeatures, PriorStage, TokenizerStage
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training

IMAGENET = 1_281_167  # training images of ImageNet-1k

# size: blocks, heads, width, head blocks, head width, batch, rounds n, Gumbel temperature
SIZES = {
    "L": (24, 16, 1024, 3, 1024, 1024, 20, 0.17),
    "XL": (36, 20, 1280, 6, 1280, 512, 25, 0.25),
    "XXL": (48, 24, 1536, 8, 1536, 512, 25, 0.30),
    "L-512": (24, 16, 1024, 6, 1280, 512, 20, 0.17),
}


def published_tokenizer_spec(bits: int, image_size: int = 256) -> BinaryAutoencoderSpec:
    """The B-AE with K = `bits` (published 16, 20, 24, 32 at 256 px, 32 at 512 px); a place is 16 x 16 pixels."""
    return BinaryAutoencoderSpec(
        image_size=(image_size, image_size), channels=3, bits=bits, width=128, multipliers=(1, 1, 2, 2, 4), residual_blocks=2,
        attention_sizes=(16,), embedding=256,
    )  # fmt: skip


def published_prior_spec(size: str, bits: int) -> MaskedPriorSpec:
    """The prior L, XL, XXL (16 x 16 places) or L-512 (32 x 32) for 1,000 classes. ValueError for another size."""
    if size not in SIZES:
        raise ValueError(f"size: got {size!r}; give one of {', '.join(SIZES)}")
    depth, heads, width, head_depth, head_width, *_ = SIZES[size]
    side = 32 if size == "L-512" else 16
    head = BernoulliDiffusionSpec(width=head_width, depth=head_depth)
    return MaskedPriorSpec((side, side), bits, depth, heads, width, ClassConditionSpec(1000), head, dropout=0.1)


def _run(size: str, bits: int, data: str, perceptual: str, seed: int) -> Run:
    *_, batch, rounds, temperature = SIZES[size]
    side = 512 if size == "L-512" else 256
    tokenizer = TokenizerStage(
        tokenizer=published_tokenizer_spec(bits, side),
        tokenizer_losses=TokenizerLosses(
            perceptual_weight=1.0 if perceptual else 0.0, discriminator=PatchGANSpec(3, 64, 3), adversarial_start=30_000
        ),
        tokenizer_training=Training(
            steps=500_000, batch_size=64, learning_rate=4.5e-6 * 64, betas=(0.5, 0.9), clip_norm=0.0, ema_decay=0.995, ema_every=10,
            precision="bf16", seed=seed, log_every=100, pictures_every=5000, checkpoint_seconds=1800,
        ),
    )  # fmt: skip
    prior = PriorStage(
        prior=published_prior_spec(size, bits),
        prior_training=Training(
            steps=400 * IMAGENET // batch, batch_size=batch, learning_rate=1e-4, warmup_steps=5000, weight_decay=2e-2, ema_decay=0.9999,
            precision="bf16", compile=True, seed=seed, log_every=100, pictures_every=5000, checkpoint_seconds=1800,
        ),
        sampler=EntropyOrderedSpec(rounds, 100, 2.5, temperature),
    )  # fmt: skip
    features = [FeaturesStage(FileFeatures(perceptual))] if perceptual else []
    stages = (*features, tokenizer, CodesStage(code_draws=2), prior)
    return Run(f"bigr-{size.lower()}", FolderSpec(data, (side, side), 3), stages, flip=True)


def bigr_l(data: str = "imagenet/train", bits: int = 24, perceptual: str = "", seed: int = 0) -> Run:
    """BiGR-L at 256 px: 24 blocks of 1024, 336.3 M parameters at 24 bits.

    data: folder with a sub-folder for each of 1,000 classes. bits: K, published 16, 20, 24. perceptual: file of a feature network; empty:
    no perceptual loss. seed: of weights, batches and every other draw.
    """
    return _run("L", bits, data, perceptual, seed)


def bigr_xl(data: str = "imagenet/train", bits: int = 24, perceptual: str = "", seed: int = 0) -> Run:
    """BiGR-XL at 256 px: 36 blocks of 1280, 799.4 M parameters at 24 bits."""
    return _run("XL", bits, data, perceptual, seed)


def bigr_xxl(data: str = "imagenet/train", bits: int = 24, perceptual: str = "", seed: int = 0) -> Run:
    """BiGR-XXL at 256 px: 48 blocks of 1536, 1480.0 M parameters at 24 bits; published with 32 bits too."""
    return _run("XXL", bits, data, perceptual, seed)


def bigr_l_512(data: str = "imagenet/train", bits: int = 32, perceptual: str = "", seed: int = 0) -> Run:
    """BiGR-L at 512 px: 24 blocks of 1024, a wider head, 372.7 M parameters at 32 bits."""
    return _run("L-512", bits, data, perceptual, seed)
