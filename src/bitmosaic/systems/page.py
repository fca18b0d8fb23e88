"""The page of a system: its card, its paper's claim, what was measured here, by seed, and whether the claim holds."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitmosaic.folders import read_json, write_json
from bitmosaic.systems.base import Claim, Results, System, Task
from bitmosaic.systems.experiment import results_of


def write_page(system: System, base: Task, seeds: int) -> dict[str, Any]:
    """Writes NAME.md, measured.json and pictures into the experiment's folder, from all that has been measured; returns the JSON."""
    claim, out = system.claim, base.folder
    results = results_of(claim, out, seeds)
    floors, verdict = read_json(out / "floors.json"), claim.decide(results)
    measured = {
        "system": system.name, "holds": verdict.holds, "why": verdict.why, "seeds": claim.seeds_of(results),
        "scale": base.scale, "floors": floors, "results": results,
    }  # fmt: skip
    write_json(out / "measured.json", measured)
    about, *rest = system.card.strip().split("\n## ", 1)
    lines = [
        f"# {system.name}: {system.what}", "", system.paper, "", about, "",
        f"## The {'claim' if system.claimed else 'comparison'}", "",
        f"**What {'the paper says' if system.claimed else 'papers say'}.** {claim.said}", "",
        f"**What is {'repeated' if system.claimed else 'measured'} here**, by `bitmosaic reproduce {system.name}`. {claim.tested}", "",
        f"**{system.outcome(verdict.holds).capitalize()}.** {verdict.why}" if system.claimed else verdict.why,
        *_floors(floors), *(f"\n## {part}" for part in rest),
        *(line for section in claim.sections(results, out) for line in ("", section)), "", "## By seed", "", by_seed(results), "",
        _made(claim, results, base), "",
    ]  # fmt: skip
    (out / f"{system.name}.md").write_text("\n".join(lines), encoding="utf-8")
    return measured


def publish(system: System, out: Path, docs: Path) -> None:
    """Puts the page and its pictures into `docs` and the figures beside the system's code, where `System.state` reads them."""
    docs.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / "measured.json", system.folder / "measured.json")
    for path in [out / f"{system.name}.md", *sorted(out.glob(f"{system.name}*.png"))]:
        shutil.copy(path, docs / path.name)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figures_table(head: str, results: Results, columns: Mapping[str, tuple[str, str]]) -> str:
    """A row for each measured trial. columns: by heading, each the name of a figure, which some trials may lack, and its format, such as
    "{:.2f}".
    """
    rows = [
        [trial, *(spread([r[name] for r in own if name in r], form) for name, form in columns.values())]
        for trial, own in results.items() if own
    ]  # fmt: skip
    return table([head, *columns], rows)


def by_seed(results: Results) -> str:
    """Every number of every trial, one value for each seed."""
    names = list(dict.fromkeys(name for own in results.values() for result in own for name in numbers(result)))
    measured = {trial: own for trial, own in results.items() if own}
    rows = [[trial, *(", ".join(f"{numbers(r)[n]:.4g}" for r in own if n in numbers(r)) for n in names)] for trial, own in measured.items()]
    return table(["trial", *names], rows)


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """The figures of a result that are numbers."""
    return {name: value for name, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def spread(values: Sequence[float], form: str) -> str:
    """The mean over seeds, with the range where there are several, as text; form: such as "{:.2f}"."""
    if not values:
        return ""
    mean = form.format(statistics.mean(values))
    return mean if len(values) == 1 else f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


def _made(claim: Claim, results: Results, base: Task) -> str:
    """A line on how the figures were measured: software, seeds, time and scale."""
    every = [result for own in results.values() for result in own]
    seconds = [result["seconds"] for result in every if "seconds" in result]
    took = [f"{sum(seconds) / 3600:.1f} hours by the clock, one thread a trial, whatever ran beside"] if seconds else []
    scale = [] if base.scale == 1 else [f"{base.scale:g} of the full scale"]
    there = claim.seeds_of(results)
    seeds = [f"{there} of {claim.seeds} seeds"] if there < claim.seeds else []
    absent = [trial for trial, own in results.items() if not own] if there else []
    seeds += [f"{len(absent)} of {len(results)} trials not yet"] if absent else []
    return "Measured with " + "; ".join([*sorted({result["measured_with"] for result in every}), *seeds, *took, *scale]) + "."


def _floors(floors: dict[str, float]) -> list[str]:
    return ["", "Floors: " + "; ".join(f"{name} {value:.4g}" for name, value in floors.items()) + "."] if floors else []
