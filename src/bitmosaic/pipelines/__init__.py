"""Pipelines: conditions and seeds to pictures; editing and compression by those with codes; loading from disk, zoo and hub."""

from bitmosaic.pipelines import hub
from bitmosaic.pipelines.codes import CodesPipeline, pipeline_config
from bitmosaic.pipelines.conditions import Condition, check_class_names
from bitmosaic.pipelines.features import pooled
from bitmosaic.pipelines.generator import GeneratorPipeline, NoiseSpec
from bitmosaic.pipelines.protocol import Pipeline, check_replaceable, kind_of
from bitmosaic.pipelines.two_stage import TwoStagePipeline
from bitmosaic.pipelines.zoo import find_pipeline, zoo_names

__all__ = [
    "CodesPipeline", "Condition", "GeneratorPipeline", "NoiseSpec", "Pipeline", "TwoStagePipeline", "check_class_names",
    "check_replaceable", "find_pipeline", "hub", "kind_of", "pipeline_config", "pooled", "zoo_names",
]
