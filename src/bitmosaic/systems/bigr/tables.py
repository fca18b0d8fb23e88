"""Our tables beside BiGR's (arXiv 2410.14672): means and spread over seeds, and in words whether the order of rows agrees."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from PIL import Image

from bitmosaic.systems.page import spread

COLUMNS = {  # what we measure -> heading, format, the paper's name of it
    "frechet": ("Frechet distance", "{:.2f}", "FID"), "score": ("classifier score", "{:.2f}", "IS"),
    "guided": ("least over guidance", "{:.2f}", None), "best": ("at a scale of", "{:.3g}", None),
    "reconstructed": ("of reconstructions", "{:.2f}", None), "agreement": ("in class", "{:.1%}", None),
    "seconds": ("s an image", "{:.3f}", "time"), "probe": ("probe", "{:.1%}", "probe"),
}  # fmt: skip
HIGHER = {"score", "agreement", "probe"}  # is better


def markdown(rows: Sequence[dict[str, Any]], columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """A table; a row has "text", "paper" (figures by the paper's names), and for each of COLUMNS a list with one value for each seed."""
    ours = [name for name in columns if any(row.get(name) for row in rows)]
    theirs = [COLUMNS[name][2] for name in columns if any(COLUMNS[name][2] in row["paper"] for row in rows)]
    extra = ["M parameters"] if any(row.get("parameters") for row in rows) else []
    head = ["", *extra, *(COLUMNS[name][0] for name in ours), *(f"paper: {name}" for name in theirs)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["text"], *([f"{row['parameters'] / 1e6:.2f}" if row.get("parameters") else ""] if extra else [])]
        cells += [spread(row.get(name, []), COLUMNS[name][1]) for name in ours]
        cells += [f"{row['paper'][name]:g}" if name in row["paper"] else "" for name in theirs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(rows: Sequence[dict[str, Any]], ranked: str) -> str:
    """In words, the pairs of rows that are in the paper's order here, those in the reverse order, and those whose seeds overlap."""
    theirs = COLUMNS[ranked][2]
    ranking = [row for row in rows if theirs in row["paper"]]
    if len(ranking) < 2:
        return "The paper has no figures to rank by."
    known = [row for row in ranking if row.get(ranked)]
    if len(known) < 2:
        return "Not measured yet."
    same, other, unsure = [], [], []
    for a, b in combinations(known, 2):
        sign = -1 if ranked in HIGHER else 1
        if a["paper"][theirs] * sign > b["paper"][theirs] * sign:
            a, b = b, a  # the paper has a before b
        pair = f"{_plain(a['text'])} before {_plain(b['text'])}"
        ours, others = [sign * x for x in a[ranked]], [sign * x for x in b[ranked]]
        (same if max(ours) < min(others) else other if min(ours) > max(others) else unsure).append(pair)
    hint = "One seed, so only a hint. " if min(len(row[ranked]) for row in known) < 2 else ""
    parts = [("As in the paper", same), ("The other way round here", other), ("Our seeds overlap", unsure)]
    return hint + " ".join(f"{word}: {'; '.join(pairs)}." for word, pairs in parts if pairs)


def curves(points: dict[str, dict[float, list[float]]], at: dict[str, float], words: dict[str, str]) -> Image.Image:
    """A panel for each setting: Frechet distance over its values, mean and range over seeds.

    points: distances by setting and value, one for each seed. at: the value of each setting in all other panels, marked by a dotted line.
    words: labels of the settings.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((3.1 * len(points), 3.1), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, values) in zip(figure.subplots(1, len(points), squeeze=False, sharey=True)[0], points.items(), strict=True):
        there = sorted(value for value, runs in values.items() if runs)
        x = range(len(there))  # evenly spaced: the values are chosen so
        axis.fill_between(x, [min(values[v]) for v in there], [max(values[v]) for v in there], color="#1f5fa8", alpha=0.15, linewidth=0)
        axis.plot(x, [statistics.mean(values[v]) for v in there], color="#1f5fa8", marker="o", markersize=4)
        if at[name] in there:
            axis.axvline(there.index(at[name]), color="#9a9a9a", linewidth=0.8, linestyle=":")
        axis.set(xlabel=words[name], xticks=x, xticklabels=[f"{v:g}" for v in there])
        axis.grid(color="#ececec")
        axis.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("Frechet distance")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream).convert("RGB")


def _plain(text: str) -> str:
    return text.replace("*", "").split(":")[0]
