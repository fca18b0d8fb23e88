"""The `landscapes` recipe: BiGR (arXiv 2410.14672) in colour at 64 x 64 pixels, on public-domain photographs, for two CPU cores.

We differ from the published sizes in everything but the equations, fold patches of 2 x 2 pixels before the tokenizer's first layer, and
give the prior position embeddings at its input; docs/log.md says how these were chosen.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.images.landscapes import LANDSCAPE_KINDS
from bitmosaic.images.specs import LandscapesSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import DEFAULT
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.optimizers import MuonSpec
from bitmosaic.train.run import Run
from bitmosaic.train.stages import CodesStage, FeaturesStage, PriorStage, TokenizerStage, TrainedFeatures
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training


def landscapes(data: str = "", seed: int = 0) -> Run:
    """Crops of photographs in ten kinds, 64 x 64 in colour -> 8 x 8 places of 32 bits (2,048 bits an image) and a prior.

    data: folder of the photographs; empty: $BITMOSAIC_DATA, then the folder of Debian's endless-sky-data. seed: of weights, batches and
    every other draw.
    """
    kinds = len(LANDSCAPE_KINDS)
    features = TrainedFeatures(
        net=ConvClassifierSpec(channels=3, classes=kinds, widths=(32, 64, 128), stride=2),
        training=Training(
            steps=800, batch_size=64, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2, ema_decay=0.99,
            precision="auto", seed=seed,
        ),
    )  # fmt: skip
    tokenizer = TokenizerStage(
        tokenizer=BinaryAutoencoderSpec(
            image_size=(64, 64), channels=3, bits=32, width=48, multipliers=(1, 2, 3), residual_blocks=1, attention_sizes=(8,),
            embedding=64, groups=8, patch=2, gain=8.0,
        ),
        tokenizer_losses=TokenizerLosses(
            squared_weight=4.0, perceptual_weight=0.04, discriminator=PatchGANSpec(channels=3, width=32, layers=3),
            adversarial_start=4000, adversarial_weight=0.25, discriminator_lead=100, diffaugment=False,
        ),
        tokenizer_training=Training(
            steps=6000, batch_size=32, learning_rate=5e-4, warmup_steps=50, decay="cosine", optimizer=MuonSpec(betas=(0.5, 0.95)),
            ema_decay=0.998, precision="auto", seed=seed, pictures_every=1000,
        ),
    )  # fmt: skip
    prior = PriorStage(
        prior=MaskedPriorSpec(
            grid=(8, 8), bits=32, depth=5, heads=4, width=256, condition=ClassConditionSpec(kinds),
            head=BernoulliDiffusionSpec(width=256, depth=3), dropout=0.1, input_positions=True,
        ),
        prior_training=Training(
            steps=3000, batch_size=64, learning_rate=1e-3, warmup_steps=200, decay="cosine", weight_decay=2e-2, ema_decay=0.999,
            precision="auto", seed=seed, pictures_every=1000,
        ),
        sampler=replace(DEFAULT, guidance_scale=3.0, temperature=0.25),
    )  # fmt: skip
    stages = (FeaturesStage(features), tokenizer, CodesStage(code_draws=2), prior)
    return Run("landscapes", LandscapesSpec(data), stages, flip=True)
