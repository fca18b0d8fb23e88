"""A run's metrics as one picture: a panel for each metric, raw values in pale and smoothed ones in strong colour."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from bitmosaic.folders import check_plain, parse_json
from bitmosaic.images import SOFTWARE, save
from bitmosaic.images.text import families, shown

_ASIDE = ("step", "seconds", "images_per_second")  # and names that begin with "memory": about the machine, not the training
_INK, _FAINT = "#2b2b2b", "#e6e6e6"
COLOURS = (("#1f5fa8", "#a9c8ea"), ("#b4522d", "#eecdbf"), ("#2f8f6b", "#bfe0d2"), ("#8b4fa8", "#dcc9e5"), ("#7a6a1b", "#ddd6b0"))

Series = tuple[np.ndarray, np.ndarray]  # steps and values


def curves(metrics_jsonl: str | os.PathLike, out: str | os.PathLike, title: str = "") -> None:
    """Draws every metric of a metrics.jsonl against the step, as a PNG that is written whole or not at all.

    A line is {"step": 10, "loss": 0.5, ...}; of several lines of one step, as of a resumed run, the last counts. The y
    axis is logarithmic where values are positive and span more than a factor of 30; values that are not finite leave a
    gap, and entries that are not numbers are ignored.
    ValueError if the file holds anything else, or no metric.
    """
    rows = read_metrics(Path(metrics_jsonl).expanduser())
    panels = _panels({"": rows}, [name for row in rows for name in row if not _aside(name)])
    if not panels:
        raise ValueError(f"metrics_jsonl: {metrics_jsonl} has no finite metric; wait for the first line")
    save(_draw(panels, "\n".join(part for part in (title, _caption(rows)) if part)), out, Software=SOFTWARE)


def compared(runs: dict[str, list[dict[str, float]]]) -> Image.Image | None:
    """Every metric of some runs, and their throughput and memory, one panel for each; None where there is none.

    runs: rows, as of `read_metrics`, by the name of the run.
    """
    names = dict.fromkeys(name for rows in runs.values() for row in rows for name in row if name not in ("step", "seconds"))
    panels = _panels(runs, sorted(names, key=_aside))
    return _draw(panels, "", list(runs)) if panels else None


def _panels(runs: dict[str, list[dict[str, float]]], names: Iterable[str]) -> dict[str, dict[str, Series]]:
    """For each metric the series of each run that has one."""
    found = {name: {run: _series(rows, name) for run, rows in runs.items()} for name in names}
    found = {name: {run: series for run, series in lines.items() if len(series[0])} for name, lines in found.items()}
    return {name: lines for name, lines in found.items() if lines}


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows in order of steps, the last where a step occurs twice; an incomplete last line is left out. ValueError names a bad line."""
    check_plain(path)
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"metrics_jsonl: cannot read {path}: {error.strerror}; give a metrics.jsonl") from error
    lines, rows = text.split("\n"), {}
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            step = int(row["step"])
            if abs(step) > 2**53:
                raise ValueError("no step")
            numbers = {_printable(name): _bounded(value) for name, value in row.items() if _is_number(value)}
            rows[step] = {**numbers, "step": step}
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            short = line if len(line) <= 60 else line[:57] + "..."
            message = f'metrics_jsonl: line {number} of {path} is {short!r}; want an object with a "step"'
            raise ValueError(message) from error
    return [rows[step] for step in sorted(rows)]


def smooth(values: np.ndarray) -> np.ndarray:
    """A centred running mean of values (n,) with Gaussian weights; values that are not finite have weight 0."""
    radius = len(values) // 20
    if radius < 1:
        return values
    weights = np.exp(-0.5 * np.linspace(-2.5, 2.5, 2 * radius + 1) ** 2)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), weights, "same")
    share = np.convolve(finite.astype(float), weights, "same")
    return np.where(finite, total / np.maximum(share, 1e-12), np.nan)


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bounded(value: float) -> float:
    """The value, or an infinity where sums and exponentials of it would overflow."""
    return (math.inf if value > 0 else -math.inf) if abs(value) > 1e100 else value


def _printable(name: str) -> str:
    return name.encode(errors="replace").decode()


def _aside(name: str) -> bool:
    return name in _ASIDE or name.startswith("memory")


def _series(rows: list[dict[str, float]], name: str) -> Series:
    """Steps and values of one metric, NaN where not finite; both empty if none is finite."""
    pairs = np.array([(row["step"], row[name]) for row in rows if name in row], dtype=float).reshape(-1, 2)
    finite = np.isfinite(pairs[:, 1])
    return (pairs[:, 0], np.where(finite, pairs[:, 1], np.nan)) if finite.any() else (pairs[:0, 0], pairs[:0, 1])


def _draw(panels: dict[str, dict[str, Series]], heading: str, runs: list[str] | None = None) -> Image.Image:
    """runs: in the order of their colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure = Figure((0.6 + 4.0 * columns, 0.9 + 2.6 * lines), dpi=120, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).flatten()
    runs = runs or [""]
    for axis, (name, lines) in zip(axes, panels.items(), strict=False):
        _panel(axis, name, {run: (series, COLOURS[runs.index(run) % len(COLOURS)]) for run, series in lines.items()})
    for i, axis in enumerate(axes):
        axis.set_visible(i < len(panels))
        if i + columns >= len(panels):  # the lowest panel of its column
            axis.set_xlabel("step", color=_INK, fontsize=9)
            axis.tick_params(labelbottom=True)
    if heading:
        font = families([heading])
        figure.suptitle(shown(heading), x=0.01, ha="left", fontsize=12, color=_INK, fontfamily=font, parse_math=False)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _caption(rows: list[dict[str, float]]) -> str:
    rates = [row["images_per_second"] for row in rows if math.isfinite(row.get("images_per_second", math.nan))]
    return f"{rows[-1]['step']:,} steps" + (f", {np.median(rates):,.0f} images per second" if rates else "")


def _panel(axis, name: str, lines: dict[str, tuple[Series, tuple[str, str]]]) -> None:
    """One metric of each run in its colours, with the smoothed last values beside its name."""
    finite = np.concatenate([values[np.isfinite(values)] for (_, values), _ in lines.values()])
    wide = finite.min() > 0 and finite.max() > 30 * finite.min()
    lasts = []
    for (steps, values), (strong, pale) in lines.values():
        smoothed = np.exp(smooth(np.log(values))) if wide else smooth(values)  # of logarithms where these are drawn
        axis.plot(steps, values, color=pale, linewidth=0.8)
        axis.plot(steps, smoothed, color=strong, linewidth=1.8, marker="o" if len(steps) < 3 else None, markersize=4)
        lasts.append(f"{smoothed[np.isfinite(smoothed)][-1]:.3g}")
    _ticks(axis, wide)
    axis.set_title(name.replace("_", " "), loc="left", fontsize=10, color=_INK, parse_math=False)
    axis.set_title(" / ".join(lasts[:3]), loc="right", fontsize=10, color=COLOURS[0][0] if len(lasts) == 1 else _INK)
    axis.grid(color=_FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("#b0b0b0")
    axis.tick_params(colors="#5a5a5a", labelsize=8)


def _ticks(axis, wide: bool) -> None:
    """Few ticks, labelled with plain numbers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step >= 1000 else f"{step:g}")
    if wide:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
