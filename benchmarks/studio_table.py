"""Writes what docs/studio.json holds into the table of docs/studio.md.

python benchmarks/studio_table.py
"""

import re
from pathlib import Path
from typing import Any

from bitmosaic.folders import read_json

DOCS = Path(__file__).resolve().parents[1] / "docs"
BETWEEN = re.compile("(<!-- measured.*?-->\n).*?(<!-- /measured -->)", re.DOTALL)


def of_load(name: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of a load test."""
    seconds, held = found["latency_seconds"], found["memory"]
    rows = [(f"{name}: clients, seconds", f"{found['clients']}, {found['seconds']:.0f}")]
    rows += [("answers by status", ", ".join(f"{count:,} {status}" for status, count in sorted(found["answers"].items())))]
    rows += [("latency, 50 / 90 / 99 % / most", " / ".join(f"{seconds[q]:.1f}" for q in ("p50", "p90", "p99", "max")) + " s")]
    if "ratio" in found:
        rows += [("images a second", f"{found['images_per_second']:.1f}; bare pipeline {found['bare_images_per_second']:.1f}")]
        kept = found["ratio_to_bare_that_keeps_memory"]
        rows += [("of the bare pipeline's", f"{100 * found['ratio']:.0f} %; of one that keeps its memory {100 * kept:.0f} %")]
    rows += [("images drawn together, mean", f"{found['batches']['images'] / max(1, found['batches']['batches']):.0f}")]
    rows += [("memory after a tenth, at the end", f"{held['after_a_tenth_mib']:.0f}, {held['at_the_end_mib']:.0f} MiB")]
    return [*rows, ("images compared bit for bit, different", f"{found['images_compared']}, {found['images_different']}")]


def of_fuzz(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of the fuzz test."""
    total: dict[str, int] = {}
    for row in found["counts"].values():
        for status, count in row.items():
            total[status] = total.get(status, 0) + count
    held = found["memory"]
    return [
        ("malformed requests: number, seed", f"{found['requests']:,}, {found['seed']}"),
        ("outcomes", ", ".join(f"{count:,} {status}" for status, count in sorted(total.items()))),
        ("answers of 500 and more, hangs, answers unlike the document", str(len(found["failures"]))),
        ("memory after a tenth, at the end", f"{held['after_a_tenth_mib']:.0f}, {held['at_the_end_mib']:.0f} MiB"),
        ("the same pixels afterwards", "yes" if found["same_pixels_afterwards"] else "no"),
    ]


def main() -> None:
    """Between the two marks of the document."""
    found, page = read_json(DOCS / "studio.json"), DOCS / "studio.md"
    rows = [row for name in ("load", "mixed") if name in found for row in of_load(name, found[name])]
    rows += of_fuzz(found["fuzz"]) if "fuzz" in found else []
    table = "".join(f"| {what} | {value} |\n" for what, value in [("", "measured"), ("---", "---"), *rows])
    page.write_text(BETWEEN.sub(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", page.read_text()))


if __name__ == "__main__":
    main()
