"""How far a training run has come, by what lies in its folder; it may still be going on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bitmosaic.evaluate.curves import read_metrics
from bitmosaic.train.claim import read_run
from bitmosaic.train.stages import Stage


def about_run(folder: Path) -> dict[str, Any]:
    """How far each stage of a training run has come."""
    run, _ = read_run(folder)
    stages = {stage.name: progress(stage, folder) for stage in run.stages if stage.files}
    reports = dict(report for stage in run.stages if (report := stage.report(folder)))
    ends = next((stage for stage in run.stages if "pipeline" in stage.makes), None)
    return {
        "run": run.name,
        "folder": str(folder),
        "stages": stages,
        "reconstruction": None,
        **reports,
        "pipeline": str(folder / ends.files[0]) if ends and ends.done(folder) else None,
        "reasons": [*run.reasons],
    }


def progress(stage: Stage, folder: Path) -> dict[str, Any]:
    """Whether a stage is done; of one that trains also its steps, its last metrics, and about how many seconds are left."""
    done = stage.done(folder)
    if stage.training is None:
        return {"done": done}
    path, steps = folder / stage.name / "metrics.jsonl", stage.training.steps
    rows = read_metrics(path) if path.exists() else []
    last = rows[-1] if rows else {}
    step = int(last.get("step", 0))
    seconds = last.get("seconds", 0.0)
    left = None if done or not step or not math.isfinite(seconds) else round(seconds / step * (steps - step))
    return {"done": done, "step": step, "steps": steps, "seconds_left": left, "last": last}
