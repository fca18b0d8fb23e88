"""`bitmosaic interpolate`: images of blends between classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from bitmosaic.commands.arguments import PipelineName
from bitmosaic.commands.drawing import OWN_SETTINGS, Settings, condition
from bitmosaic.commands.edited import PICTURED
from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.pipelines import DEFAULT, Drawing, load
from bitmosaic.images import animation, grid, save, sheet
from bitmosaic.names import plain
from bitmosaic.pipelines import editing


def interpolate(
    pipeline: PipelineName = DEFAULT, *, classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS ...")],
    frames: int = 9, count: int = 4, seed: int = 0, settings: tyro.conf.OmitArgPrefixes[Settings] = OWN_SETTINGS,
    out: Path = Path("interpolation"), device: str = "cpu", precision: Drawing = "own",
) -> list[Path]:  # fmt: skip
    """Interpolates between classes: condition vectors are blended in even steps, and the noise stays the same.

    Writes strip.png, a row for each seed, and strip.gif, which shows all of them forwards and backwards.

    Args:
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        classes: two or more, by name or number; none for no class.
        frames: images of a row, both ends included.
        count: rows, each with its own seed.
        seed: of the first row; each further one has the next seed.
        settings: of the sampler.
        out: folder to write into; pictures of the same name that bitmosaic wrote are replaced.
        device: where to compute, such as cpu or cuda.
        precision: of the network that draws; own: float32, or auto above 100 million weights; auto: bf16 where the processor has
            bf16 arithmetic, else float32.

    Returns:
        The two files.
    """
    if count < 1:
        raise ValueError(f"count: got {count}; give a whole number of at least 1")
    pipe, own = load(pipeline, device, precision=precision), settings.given()
    pipe.check_pictures()
    labels, conditions = zip(*[condition(pipe, text) for text in classes], strict=True) if classes else ((), ())
    if any(isinstance(c, dict) for c in conditions):
        raise ValueError(f"classes: got {' '.join(classes)}; blends are made here: give single classes, such as --classes bag sandal")
    rows = []
    with written_into(out, ["strip.png", "strip.gif"]) as folder:
        with tqdm(desc="interpolate", unit="step", disable=None, dynamic_ncols=True, leave=False) as bar:
            for i in range(count):
                way = editing.interpolate(
                    pipe, conditions, seed + i, frames=frames, output_type="pt", callback_on_step_end=lambda step: bar.update(), **own
                )
                rows.append(way)
        used = {**pipe.settings(**own).to_json(), "frames": frames, "device": device, "precision": pipe.precision}
        about = {"Software": SOFTWARE, "Command": "interpolate", "Pipeline": pipeline, "Settings": json.dumps(used)}
        scale = max(1, PICTURED // rows[0].shape[-2])
        title = " to ".join(labels)
        strip = sheet(torch.stack(rows), [f"seed {seed + i}" for i in range(count)], scale, title)
        save(strip, folder / "strip.png", **about, Classes=json.dumps(labels), Seed=seed)
        there = [grid(torch.stack([row[i] for row in rows]), min(count, 8), scale, background=250) for i in range(frames)]
        animation(there + there[-2::-1], folder / "strip.gif", seconds_per_frame=0.2, comment=SOFTWARE)
    print(plain(Path(out) / "strip.png"), plain(Path(out) / "strip.gif"), sep="\n")
    return [Path(out) / "strip.png", Path(out) / "strip.gif"]
