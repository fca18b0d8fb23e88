"""The table and the plot of the map of speed and quality."""

from pathlib import Path

from quality_points import LAW


def mark_front(rows: list[dict]) -> None:
    """Sets "front" where no row is both faster and better."""
    for row in rows:
        row["front"] = not any(o["seconds"] <= row["seconds"] and o["frechet_2000"] < row["frechet_2000"] for o in rows if o is not row)


def table(rows: list[dict], floors: dict[str, float], chosen: str | None) -> str:
    """Markdown, the published law first, then by time."""
    law = next((row for row in rows if row["name"] == LAW), rows[0])
    columns = ["sampling", "distance of 2,000", "of 5,000, three seeds", "precision", "recall", "in class", "ms an image", "times as fast"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in sorted(rows, key=lambda row: (row is not law, row["seconds"])):
        runs = row["frechet_of_runs"]
        spread = f"{row['frechet']:.2f} ({min(runs):.2f} to {max(runs):.2f})" if len(runs) > 1 else ""
        name = f"**{row['name']}**" if row["front"] else row["name"]
        cells = [
            name + " ← default" * (row["name"] == chosen), f"{row['frechet_2000']:.2f}", spread, f"{row['precision']:.3f}",
            f"{row['recall']:.3f}", f"{100 * row['agreement']:.1f} %", f"{1000 * row['seconds']:.0f}",
            f"{law['seconds'] / row['seconds']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    small, large = floors.values()
    lines.append(f"| *as many training images instead (floor)* | {small:.2f} | {large:.2f} | | | | | |")
    return "\n".join(lines)


def plot(rows: list[dict], floors: dict[str, float], chosen: str | None, path: Path, note: str) -> None:
    """Quality against time, the Pareto front drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((10, 6.4), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    floor = next(iter(floors.values()))
    for i, family in enumerate(dict.fromkeys(row["family"] for row in rows)):
        mine = [row for row in rows if row["family"] == family]
        axis.scatter([1000 * r["seconds"] for r in mine], [r["frechet_2000"] for r in mine], s=46, marker="osD^vP*Xh<>p"[i % 12],
                     label=family, color=f"C{i % 10}", zorder=3)  # fmt: skip
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["seconds"])
    axis.plot([1000 * r["seconds"] for r in front], [r["frechet_2000"] for r in front], color="#404040", linewidth=1.2, zorder=2,
              label="Pareto front")  # fmt: skip
    named = {LAW, chosen, *(row["name"] for row in front)}
    for row in rows:
        if row["name"] in named:
            bold = {"fontweight": "bold"} if row["name"] in (LAW, chosen) else {}
            text = row["name"] + " (default)" * (row["name"] == chosen)
            axis.annotate(text, (1000 * row["seconds"], row["frechet_2000"]), textcoords="offset points", xytext=(7, 5), fontsize=8,
                          color="#303030", **bold)  # fmt: skip
    axis.axhline(floor, color="#808080", linewidth=1, linestyle=":")
    axis.text(0.995, floor, "2,000 real training images", fontsize=8, color="#606060", ha="right", va="bottom",
              transform=axis.get_yaxis_transform())  # fmt: skip
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("milliseconds an image")
    axis.set_ylabel("Frechet distance of 2,000 samples to the test images (lower is better)")
    axis.set_title(f"Speed and quality of the shipped pipeline\n{note}", loc="left", fontsize=10)
    axis.grid(color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    figure.savefig(path)
