"""Run: everything that one training run is, from images to a finished pipeline, as one frozen description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bitmosaic.codes import described
from bitmosaic.images.specs import FashionSampleSpec, ImagesSpec
from bitmosaic.nets.feature_net import ConvClassifierSpec
from bitmosaic.priors.base import PriorSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers.base import SamplerSpec
from bitmosaic.samplers.entropy_ordered import EntropyOrderedSpec
from bitmosaic.spec import Spec
from bitmosaic.tokenizers.base import TokenizerSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.tokenizer_game import TokenizerLosses
from bitmosaic.train.training import Training


class Reason(str):
    """Why a run is as it is, in the run's own values: of a changed run it is told anew."""

    tell: Callable[[Run], str]

    @staticmethod
    def of(tell: Callable[[Run], str], run: Run) -> Reason:
        """What `tell` says of a run; empty where there is nothing to say."""
        reason = Reason(tell(run))
        reason.tell = tell
        return reason

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Goes to other processes as text."""
        return str, (str(self),)


def retold(reasons: Sequence[str], run: Run) -> tuple[str, ...]:
    """Reasons of a run, as they are of another that was made from it."""
    every = [Reason.of(reason.tell, run) if isinstance(reason, Reason) else reason for reason in reasons]
    return tuple(reason for reason in every if reason)


@dataclass(frozen=True)
class TrainedFeatures(Spec):
    """A classifier trained first on the run's own images and labels, for the perceptual distance."""

    net: ConvClassifierSpec = ConvClassifierSpec()
    training: Training = Training()


@dataclass(frozen=True)
class FileFeatures(Spec):
    """A feature network in a local file (.safetensors with its spec inside, or .pt2)."""

    path: str = ""


@dataclass(frozen=True)
class Run(Spec):
    """Images -> feature network -> tokenizer -> codes -> prior -> pipeline."""

    name: str = "run"
    images: ImagesSpec = FashionSampleSpec()
    flip: bool = False  # mirror training images left to right with probability 1/2
    features: TrainedFeatures | FileFeatures | None = None  # the network of the perceptual distance
    tokenizer: TokenizerSpec = BinaryAutoencoderSpec()
    tokenizer_losses: TokenizerLosses = TokenizerLosses()
    tokenizer_training: Training = Training()
    code_draws: int = 1  # codes kept of each image, where a tokenizer draws them (mirrored ones in turn where flip is on)
    prior: PriorSpec = MaskedPriorSpec(grid=(8, 8))
    class_dropout: float = 0.1  # probability of the null class in training
    prior_training: Training = Training()
    sampler: SamplerSpec = EntropyOrderedSpec()  # the pipeline's default
    reasons: tuple[str, ...] = ()  # why sizes were chosen, a line each

    def __post_init__(self):
        if self.tokenizer.grid != self.prior.grid or self.tokenizer.radix != self.prior.radix:
            raise ValueError(
                f"tokenizer makes {self.tokenizer.grid} places, {described(self.tokenizer.radix)}; "
                f"prior wants {self.prior.grid}, {described(self.prior.radix)}"
            )
        if self.tokenizer_losses.perceptual_weight and self.features is None:
            raise ValueError("tokenizer_losses.perceptual_weight is set but there are no features to measure with")
        others = [self.tokenizer_training, *([self.features.training] if isinstance(self.features, TrainedFeatures) else [])]
        if any(training.sharded or training.recompute for training in others):
            raise ValueError("training.sharded, recompute: these are of a prior; other networks are whole on every process")
        if self.code_draws < 1 or not 0 <= self.class_dropout <= 1:
            raise ValueError(f"code_draws {self.code_draws} must be at least 1, class_dropout {self.class_dropout} in [0, 1]")
