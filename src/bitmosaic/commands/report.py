"""`bitmosaic report`: training runs as one page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image

from bitmosaic.commands.files import SOFTWARE, written_into
from bitmosaic.commands.info import minutes_left
from bitmosaic.evaluate.curves import COLOURS, compared, read_metrics
from bitmosaic.folders import parse_json
from bitmosaic.names import plain
from bitmosaic.pages import Markup, data_url, filled, png_url
from bitmosaic.pages import part as page_part
from bitmosaic.train.claim import differences, read_run
from bitmosaic.train.overview import about_run
from bitmosaic.train.run import Run, flat
from bitmosaic.train.stages import Stage

Runs = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...", help_behavior_hint="")]
SHOWN, EVENTS = 4, 40  # pictures over time, and events, of each stage and run
part = partial(page_part, "report")


@dataclass(frozen=True)
class RunSummary:
    """A run's folder: its description, progress, metrics, events and pictures."""

    name: str
    folder: Path
    run: Run
    about: dict[str, Any]  # as `bitmosaic info` returns it

    def reported_by(self, stage: Stage) -> bool:
        """Whether this run's stage of that name has measured reconstructions."""
        found = next((own.report(self.folder) for own in self.run.stages if own.name == stage.name), None)
        return found is not None and found[0] == "reconstruction"

    def rows(self, stage: str) -> list[dict[str, float]]:
        """The rows of a stage's metrics.jsonl."""
        path = self.folder / stage / "metrics.jsonl"
        return read_metrics(path) if path.exists() else []

    def events(self, stage: str) -> tuple[list[dict[str, Any]], int]:
        """The events in a stage's events.jsonl, and the number of its lines that cannot be read."""
        path = self.folder / stage / "events.jsonl"
        lines = [line for line in path.read_text(errors="replace").split("\n") if line.strip()] if path.exists() else []
        found = [event for event in map(read_event, lines) if event is not None]
        return found, len(lines) - len(found)

    def pictures(self, stage: str) -> tuple[dict[int, Path], list[str]]:
        """Some of a stage's pictures by their steps, spread over the run up to the newest; and the names of files that are not pictures."""
        every, odd = {}, []
        for path in sorted((self.folder / stage / "pictures").glob("step-*.png")):
            named = re.fullmatch(r"step-([0-9]{1,15})\.png", path.name)
            if named and path.is_file() and not path.is_symlink() and _begins_as_png(path):  # a link could lead anywhere
                every[int(named[1])] = path
            else:
                odd.append(path.name)
        steps = sorted(every)
        chosen = {round(i * (len(steps) - 1) / max(1, SHOWN - 1)) for i in range(SHOWN)} if steps else set()
        return {steps[i]: every[steps[i]] for i in sorted(chosen)}, odd


def read_event(line: str) -> dict[str, Any] | None:
    """A line of events.jsonl, an object with "event" and "step"; None where it is not."""
    try:
        found = parse_json(line)
    except ValueError:
        return None
    fits = isinstance(found, dict) and isinstance(found.get("event"), str) and type(found.get("step")) is int
    return found if fits else None


def _begins_as_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n"


def report(runs: Runs, *, out: Path = Path("report")) -> Path:
    """Shows training runs on one page: superimposed curves, pictures over time, use of bits, throughput, memory, events.

    The page is one file that can be moved or sent by itself. Works during training, too.

    Args:
        runs: folders of training runs, as 'bitmosaic train' writes them.
        out: folder to write report.html into; one that bitmosaic wrote before is replaced.

    Returns:
        The page.
    """
    if not runs:
        raise ValueError("runs: got none; give the folder of at least one training run, such as runs/fashion")
    folders = [Path(run).expanduser() for run in runs]
    for folder in folders:
        if not (folder / "run.json").is_file():
            raise ValueError(f"runs: {folder} holds no run.json; give a folder that 'bitmosaic train' wrote")
    told = [RunSummary(name, folder, read_run(folder)[0], about_run(folder)) for name, folder in named(folders).items()]
    with written_into(out, ["report.html"]) as place:
        (place / "report.html").write_text(page(told), encoding="utf-8", errors="replace")
    print(plain(out / "report.html"))
    return out / "report.html"


def named(folders: list[Path]) -> dict[str, Path]:
    """Folders by the last part of their paths, or by the whole path where two end alike."""
    short = {folder.resolve().name: folder for folder in folders}
    return short if len(short) == len(folders) else {str(folder): folder for folder in folders}


def page(told: list[RunSummary]) -> Markup:
    """The HTML text."""
    title = " and ".join(run.name for run in told) if len(told) < 3 else f"{len(told)} runs"
    parts = [settings(told), *(stage_section(told, stage) for stage in stages_of(told))]
    return filled("report", software=SOFTWARE, title=title, runs=legend(told), parts=parts)


def legend(told: list[RunSummary]) -> list[Markup]:
    """Each run's colour and progress."""
    lines = []
    for i, run in enumerate(told):
        stages = "; ".join(f"{name} {state(at)}" for name, at in run.about["stages"].items())
        lines.append(part("run", colour=COLOURS[i % len(COLOURS)][0], name=run.name, stages=stages))
    return lines


def state(at: dict[str, Any]) -> str:
    """The progress of a stage, in words."""
    if at["done"]:
        return "done"
    if not at.get("step"):
        return "not begun"
    return f"at step {at['step']:,} of {at['steps']:,}{minutes_left(at)}"


def settings(told: list[RunSummary]) -> Markup:
    """A table of the runs, and one of the settings in which they differ from the first."""
    rows = [(run.name, run.run.name, "; ".join(words for stage in run.run.stages for words in stage.about())) for run in told]
    first = flat(told[0].run.to_json())
    others = [[run.name, *difference.removeprefix("run.").split(" was ", 1)] for run in told[1:]
              for difference in differences(first, flat(run.run.to_json()), "run")]  # fmt: skip
    changed = part("differences", first=told[0].name, table=table(("run", "setting", "was, now"), others)) if others else None
    return part("runs", table=table(("run", "recipe", "what it is"), rows), differences=changed)


def stages_of(told: list[RunSummary]) -> list[Stage]:
    """The stages of all runs, each name once."""
    return list({stage.name: stage for run in told for stage in run.run.stages}.values())


def stage_section(told: list[RunSummary], of: Stage) -> Markup | None:
    """Curves, pictures, use of bits and events of one stage of all runs; none where no run has begun it."""
    stage = of.name
    rows = {run.name: run.rows(stage) for run in told}
    drawn = compared(rows)
    if drawn is None:
        return None
    speeds = [(name, *summary(some)) for name, some in rows.items() if some]
    return part(
        "stage",
        stage=stage.capitalize(),
        curves=figure(drawn, f"Curves of the {stage}"),
        speeds=table(("run", "steps", "time", "images a second, median", "memory, most"), speeds),
        pictures=[pictures(run, of) for run in told],
        bits=[bits(run) for run in told if run.reported_by(of)],
        events=happened(told, stage),
    )


def pictures(run: RunSummary, stage: Stage) -> list[Markup]:
    """A stage's pictures over time, and the names of other files beside them."""
    shown, odd = run.pictures(stage.name)
    found = []
    if shown:
        figures = [figure(path, f"step {step:,}") for step, path in shown.items()]
        found.append(part("pictures", pictured=stage.pictured, run=run.name, figures=figures))
    if odd:
        found.append(part("left-out", run=run.name, names=", ".join(odd)))
    return found


def summary(rows: list[dict[str, float]]) -> tuple[str, str, str, str]:
    """Steps, time, throughput and memory of a stage."""
    last, speeds = rows[-1], [row["images_per_second"] for row in rows if "images_per_second" in row]
    memory = [row["memory_gib"] for row in rows if math.isfinite(row.get("memory_gib", math.nan))]  # not every system tells it
    held = f"{max(memory):.2f} GiB" if memory else "not told"
    return f"{last['step']:,}", f"{last.get('seconds', 0) / 60:.1f} min", f"{np.median(speeds or [0]):,.0f}", held


def bits(run: RunSummary) -> Markup | None:
    """The quality of reconstructions, and the use of each bit or of the codebook."""
    found = run.about["reconstruction"]
    if not found:
        return None
    likeness = "" if found["ssim"] is None else f", SSIM {found['ssim']:.3f}"  # None for sound
    words, bars = f"PSNR {found['psnr']:.2f} dB{likeness} on {found['count']:,} images", None
    if found["bits"]:  # absent where digits are not bits
        entropies, dead = found["bits"]["entropy"], found["bits"]["dead"]
        words += f"; least entropy of a bit {min(entropies):.2f} of 1; dead bits: {', '.join(map(str, dead)) or 'none'}"
        each = [part("bar", height=f"{max(2, 100 * e):.0f}%", title=f"bit {k}: {e:.3f}") for k, e in enumerate(entropies)]
        bars = part("bars", words=words, bars=each)
    if found.get("codebook"):
        use = found["codebook"]
        words += f"; {use['used']:,} of {use['codewords']:,} codewords used, perplexity {use['perplexity']:,.1f}"
    return part("bits", run=run.name, bars=bars, words=words)


def happened(told: list[RunSummary], stage: str) -> Markup:
    """The events of a stage: counts of each kind, and the last ones in full."""
    rows, counts = [], []
    for run in told:
        events, left = run.events(stage)
        kinds = dict.fromkeys(event["event"] for event in events)
        said = ", ".join(f"{sum(e['event'] == k for e in events)} {k}" for k in kinds) or "nothing"
        counts.append(f"{run.name}: {said}" + (f", left out: {left} line{'s' * (left > 1)} of events.jsonl" if left else ""))
        for event in events[-EVENTS:]:
            more = ", ".join(f"{k} {v}" for k, v in event.items() if k not in ("event", "step", "time"))
            rows.append((run.name, f"{event['step']:,}", event["event"], more))
    if not rows:
        return part("no-events")
    return part("events", counts="; ".join(counts), table=table(("run", "step", "event", ""), rows))


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> Markup:
    """A table whose cells are escaped as text."""
    cells = [part("row", cells=[part("cell", cell=str(cell)) for cell in row]) for row in rows]
    return part("table", head=[part("head", cell=cell) for cell in head], rows=cells)


def figure(picture: Image.Image | Path, caption: str) -> Markup:
    """A picture, inside the page."""
    source = data_url(picture.read_bytes(), "image/png") if isinstance(picture, Path) else png_url(picture)
    return part("figure", source=source, caption=caption)
