"""From data to a finished pipeline: the stages of a Run, each resumed or skipped as its folder says.

    out/run.json  out/STAGE/metrics.jsonl, events.jsonl, pictures/, checkpoints/  out/pipeline/  out/curves-*.png  out/tensorboard/
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bitmosaic.codes import described
from bitmosaic.conditions import ClassConditionSpec, NoConditionSpec, TextConditionSpec
from bitmosaic.conditions.text import SMALL
from bitmosaic.evaluate.curves import read_metrics
from bitmosaic.folders import read_json
from bitmosaic.images import ImagesGone
from bitmosaic.images.specs import AnyFolderSpec, CodesSpec
from bitmosaic.images.views import VIEWS
from bitmosaic.names import plain
from bitmosaic.pipelines import Pipeline
from bitmosaic.spec import Spec
from bitmosaic.threads import share_processors
from bitmosaic.tokenizers import TokenizerSpec
from bitmosaic.train.alone import alone
from bitmosaic.train.board import Board, check_tensorboard
from bitmosaic.train.claim import check_free, claim
from bitmosaic.train.processes import by_first, is_first, own_device, process_group
from bitmosaic.train.run import Run, retold
from bitmosaic.train.stages import GivenCodesStage, Job, play_all
from bitmosaic.train.tokenized import Manifest


def train(
    run: Run, out: str | Path, say: Callable[[str], None] = tqdm.write, device: str | None = None, tensorboard: bool = False
) -> Pipeline:  # fmt: skip
    """Trains `run` in the folder `out` and returns its pipeline. The same call again resumes.

    `device` None: the first GPU where there is one, else the CPU. Where torchrun has started several processes they share the work, each
    with a GPU of its own. `tensorboard`: metrics go into `out`/tensorboard too. ValueError where `out` holds another run, where another
    training is going on in it, and where its images have changed or are gone.
    """
    share_processors()
    out, device = Path(out), device or own_device()
    if tensorboard:
        check_tensorboard()
    if not any("pipeline" in stage.makes for stage in run.stages):
        raise ValueError(f"stages: none of {', '.join(stage.name for stage in run.stages) or 'none'} ends in a pipeline")
    with process_group(device):
        try:
            return _train(run, out, say if is_first() else str, device, out / "tensorboard" if tensorboard else None)
        except ImagesGone as error:
            raise ValueError(f"{error}; nothing was learned without them: once they are back, the same command goes on") from error


def _train(run: Run, out: Path, say: Callable[[str], object], device: str, board: Path | None) -> Pipeline:
    source = opened(run, say)
    check_fits(run, source, out)
    check_free(out)
    with alone(out):
        run = by_first(lambda: claim(out, run, source, say, device))
        say(plain(f"{run.name}: {source.summary()} -> {out}"))
        copy_metrics(out, board)
        return play_all(run.stages, Job(run, out, source, say, device, board))["pipeline"]


def opened(run: Run, say: Callable[[str], object] = str) -> Any:
    """The run's images, or the Manifest of its codes; what is to be told of the images is told."""
    if isinstance(run.data, CodesSpec):
        return Manifest.read(run.data.path)
    images = run.data.build()
    for line in images.told():
        if line not in run.reasons:  # which have been shown
            say(line)
    return images


def check_fits(run: Run, source: Any, out: Path) -> None:
    """ValueError where the data do not fit the run's stages, or where the run would write among its own images."""
    for stage in reversed(run.stages):  # what does not fit a tokenizer is told by that, not by its feature network
        stage.check(run, source)
    if isinstance(run.data, AnyFolderSpec):
        data = Path(run.data.path).expanduser().resolve()
        if data in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"out: {out} lies inside the images in {data}, whose pictures it would become; give another folder")


def copy_metrics(out: Path, board: Path | None) -> None:
    """What is known of the stages, those that have ended too, for TensorBoard."""
    if board is not None and is_first():
        for rows in sorted(out.glob("*/metrics.jsonl")):
            Board(board / rows.parent.name, read_metrics(rows))


def on_codes(run: Run, folder: str | Path) -> Run:
    """A run that trains its prior alone, on codes that 'bitmosaic tokenize' made, with grid, digits, classes or captions as these have."""
    prior_stage = next((stage for stage in run.stages if "codes" in stage.needs), None)
    if prior_stage is None:
        raise ValueError(f"codes: a run of {', '.join(stage.name for stage in run.stages)} learns from no codes; leave them out")
    codes = Manifest.read(folder)
    tokenizer = Spec.from_json(read_json(codes.folder / "tokenizer" / "config.json"), f"{codes.folder / 'tokenizer' / 'config.json'}")
    if not isinstance(tokenizer, TokenizerSpec):
        raise ValueError(f"codes: made by a {type(tokenizer).__name__}, which is no tokenizer")
    if (tokenizer.grid, tokenizer.radix) != (codes.grid, codes.radix):
        raise ValueError(f"codes: {codes.folder} says {codes.grid} places, {described(codes.radix)}; its tokenizer makes others")
    count = len(codes.class_names)
    has = getattr(run.prior.condition, "classes", 0)
    if codes.captioned:
        condition = run.prior.condition if isinstance(run.prior.condition, TextConditionSpec) else SMALL
    else:
        condition = run.prior.condition if has == count else ClassConditionSpec(count) if count else NoConditionSpec()
    if getattr(condition, "shifted", False):
        condition = dataclasses.replace(condition, shifted=False)  # such codes are of whole images
    unguided = {"guidance_scale": 1.0} if not count and not codes.captioned and hasattr(run.sampler, "guidance_scale") else {}
    given = GivenCodesStage(tokenizer, VIEWS[codes.about["views"]])
    prior = run.prior.on(codes.grid, codes.radix, condition, tokenizer.end)
    learned = dataclasses.replace(prior_stage, sampler=dataclasses.replace(run.sampler, **unguided), prior=prior)
    changed = dataclasses.replace(run, data=CodesSpec(str(folder)), flip=False, shift=0.0, stages=(given, learned))
    alone = f"the prior alone, on codes in {folder}: its grid, digits and classes are theirs"
    return dataclasses.replace(changed, reasons=(*retold(run.reasons, changed), alone))
