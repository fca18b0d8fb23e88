"""The stages that runs consist of; importing the package registers them, so that a run.json can be read."""

from bitmosaic.train.run import Job, Stage, play_all
from bitmosaic.train.stages.codes import CodesStage, GivenCodesStage
from bitmosaic.train.stages.features import FeaturesStage, FileFeatures, TrainedFeatures
from bitmosaic.train.stages.generator import GeneratorStage
from bitmosaic.train.stages.prior import PriorStage
from bitmosaic.train.stages.tokenizer import FixedTokenizerStage, TokenizerStage

__all__ = [
    "CodesStage", "FeaturesStage", "FileFeatures", "FixedTokenizerStage", "GeneratorStage", "GivenCodesStage", "Job", "PriorStage",
    "Stage", "TokenizerStage", "TrainedFeatures", "play_all",
]  # fmt: skip
