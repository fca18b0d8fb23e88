"""What users hold: conditions and seeds -> pictures, and what else a pipeline can do; functions over it in `editing` and `compression`."""

from bitmosaic.pipelines import hub
from bitmosaic.pipelines.codes import (
    Condition,
    Pipeline,
    check_class_names,
    check_replaceable,
    find_pipeline,
    pipeline_config,
    pooled,
    zoo_names,
)  # fmt: skip

__all__ = [
    "Condition", "Pipeline", "check_class_names", "check_replaceable", "find_pipeline", "hub", "pipeline_config", "pooled", "zoo_names",
]
