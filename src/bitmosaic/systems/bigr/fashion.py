"""The `fashion` recipe: BiGR (arXiv 2410.14672) on Fashion-MNIST (Xiao et al., arXiv 1708.07747), for two CPU cores and two hours.

86 minutes from start to pipeline on two cores of a Zen 4 that also did other work; about twice that, by estimate, on processors without
bf16 arithmetic.

We differ from the published sizes in everything but the equations; docs/log.md says how these were chosen.
"""

from __future__ import annotations

from dataclasses import replace

from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.images.specs import FashionMNISTSpec
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


def fashion(data: str = "", seed: int = 0) -> Run:
    """28 x 28 grey images in ten classes -> 7 x 7 places of 20 bits (980 bits an image) and a prior of 3.7 M parameters.

    data: folder with the IDX files; empty: $BITMOSAIC_DATA, then the folder of Debian's dataset-fashion-mnist. seed: of weights, batches
    and every other draw.
    """
    features = TrainedFeatures(
        net=ConvClassifierSpec(channels=1, classes=10, widths=(32, 64, 128)),
        training=Training(
            steps=900, batch_size=128, learning_rate=2e-3, warmup_steps=50, decay="cosine", weight_decay=1e-2,
            ema_decay=0.99, precision="auto", seed=seed,
        ),
    )  # fmt: skip
    tokenizer = TokenizerStage(
        tokenizer=BinaryAutoencoderSpec(
            image_size=(28, 28), channels=1, bits=20, width=32, multipliers=(1, 2, 4), residual_blocks=1,
            attention_sizes=(7,), embedding=64, groups=8, gain=8.0,
        ),
        tokenizer_losses=TokenizerLosses(
            squared_weight=4.0, perceptual_weight=0.2, discriminator=PatchGANSpec(channels=1, width=32, layers=3),
            adversarial_start=2600, adversarial_weight=0.25, discriminator_lead=100, diffaugment=False,
        ),
        tokenizer_training=Training(
            steps=4000, batch_size=64, learning_rate=5e-4, warmup_steps=50, decay="cosine", optimizer=MuonSpec(betas=(0.5, 0.95)),
            ema_decay=0.995, precision="auto", seed=seed, pictures_every=500,
        ),
    )  # fmt: skip
    prior = PriorStage(
        prior=MaskedPriorSpec(
            grid=(7, 7), bits=20, depth=6, heads=3, width=192, condition=ClassConditionSpec(10, shifted=True),
            head=BernoulliDiffusionSpec(width=192, depth=3), input_positions=True, dropout=0.05,
        ),
        prior_training=Training(
            steps=6000, batch_size=64, learning_rate=2e-3, warmup_steps=200, decay="cosine", weight_decay=2e-2,
            ema_decay=0.999, precision="auto", seed=seed, pictures_every=2000,
        ),
        sampler=replace(DEFAULT, guidance_scale=1.75, temperature=0.25),
    )  # fmt: skip
    return Run("fashion", FashionMNISTSpec(data), (FeaturesStage(features), tokenizer, CodesStage(code_draws=4), prior), shift=0.15)
