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
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

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
    axis.axhline(floor, color="#808080", linewidth=1, linestyle=":")
    axis.text(0.995, floor, "2,000 real training images", fontsize=8, color="#606060", ha="right", va="bottom",
              transform=axis.get_yaxis_transform())  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator([c * 10**e for e in range(5) for c in (1, 1.5, 2, 3, 4, 5, 7)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_ylim(bottom=0)
    axis.set_xlabel("milliseconds an image")
    axis.set_ylabel("Frechet distance of 2,000 samples to the test images (lower is better)")
    axis.set_title(f"Speed and quality of the shipped pipeline\n{note}", loc="left", fontsize=10)
    axis.grid(color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    name_points(figure, axis, rows, {LAW, chosen, *(row["name"] for row in front)}, (LAW, chosen), chosen)
    figure.savefig(path)


def name_points(figure, axis, rows: list[dict], named: set, bold: tuple, chosen: str | None) -> None:
    """Writes the names of some points beside them, where they cover neither a point nor another name."""
    figure.canvas.draw()
    spots = {row["name"]: axis.transData.transform((1000 * row["seconds"], row["frechet_2000"])) for row in rows}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots.values()]
    for row in sorted((row for row in rows if row["name"] in named), key=lambda row: (row["name"] not in bold, row["seconds"])):
        x, y = spots[row["name"]]
        text = axis.annotate(
            row["name"] + " (default)" * (row["name"] == chosen), (1000 * row["seconds"], row["frechet_2000"]), xytext=(0, 0),
            textcoords="offset pixels", fontsize=8, color="#303030", fontweight="bold" if row["name"] in bold else "normal", va="center",
            arrowprops={"arrowstyle": "-", "color": "#a0a0a0", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip
        box = text.get_window_extent()
        width, height = box.width, box.height
        for dy in (0, 14, -14, 28, -28, 42, -42, 56, -56, 70, -70, 84, -84):
            dx = next((dx for dx in (10, -10 - width) if _free(x + dx, y + dy, width, height, taken, axis.bbox)), None)
            if dx is not None:
                break
        else:
            dx, dy = 10, 0
        text.set_position((dx, dy))
        taken.append((x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2))


def _free(left: float, middle: float, width: float, height: float, taken: list[tuple], within) -> bool:
    """Whether a text there lies inside the axes and covers nothing."""
    right, low, high = left + width, middle - height / 2, middle + height / 2
    clear = all(left >= t[2] or t[0] >= right or low >= t[3] or t[1] >= high for t in taken)
    return clear and within.x0 < left and right < within.x1 and within.y0 < low and high < within.y1
