"""The pictures of the commands in docs/, each made by the command that stands beside it, and one figure of all jobs for the README.

    python benchmarks/pictures.py

With the shipped pipeline; writes docs/pictures/*.png and *.gif, and docs/evaluation.json. Takes ten minutes on two cores.
"""

import argparse
import shlex
import shutil
import tempfile
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from bitmosaic import Pipeline
from bitmosaic.cli import main as bitmosaic
from bitmosaic.evaluate.insight import reveal
from bitmosaic.images import fashion_sample, grid, heat, save
from bitmosaic.pipelines.editing import canvas, coarse

COMMANDS = {  # what is run -> which of its files are kept, under which names
    "inpaint fashion:18 --box 0 14 28 28 --class bag --count 6 --feather 1": {"sheet.png": "inpaint.png"},
    "outpaint fashion:2 --padding 0 0 14 0 --class trouser --count 4 --feather 1": {"sheet.png": "outpaint.png"},
    "edit fashion:0 --box 0 0 28 20 --class sandal --count 6 --feather 1": {"sheet.png": "edit.png"},
    "interpolate --classes t-shirt dress coat --frames 9 --count 3": {"strip.png": "interpolate.png", "strip.gif": "interpolate.gif"},
    "enrich fashion:0 --class 'ankle boot' --repeats 1 --count 4": {"sheet.png": "enrich.png"},
    "reveal --class 'ankle boot' --count 3": {
        "entropy.png": "reveal-entropy.png", "order.png": "reveal-order.png", "order.gif": "reveal.gif",
    },
    "evaluate fashion": {
        "evaluation.png": "evaluation.png", "evaluation.json": "../evaluation.json",
    },
    "bits fashion:0": {"fashion-0-bits.png": "bits.png", "meaning.png": "bits-meaning.png"},
}
COLUMNS, SCALE = 8, 3  # of the figure


def pictures(folder: Path) -> None:
    """Runs every command and keeps its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for line, kept in COMMANDS.items():
        with tempfile.TemporaryDirectory() as out:
            if bitmosaic([*shlex.split(line), "--out", out]):
                raise SystemExit(f"bitmosaic {line} failed; what it said stands above")
            for file, name in kept.items():
                shutil.copyfile(Path(out) / file, folder / name)


def figure(path: Path) -> None:
    """One row for each job."""
    pipe, sample = Pipeline.from_pretrained("fashion"), fashion_sample()
    n, rows = COLUMNS, {}
    rows["generate"] = pipe(["bag", "sandal", "coat", "trouser", "sneaker", "dress", "ankle boot", "shirt"], range(n), output_type="pt")
    rows["inpaint"] = _painted(pipe, sample.pixels[18], (0, 14, 28, 28), "bag", n - 2)
    whole = torch.zeros(28, 28, dtype=torch.bool)
    whole[:, :10] = whole[:, 18:] = whole[:6] = True
    rows["outpaint"] = _painted(pipe, sample.pixels[1], whole, "pullover", n - 2)
    rows["edit"] = _painted(pipe, sample.pixels[0], (0, 0, 28, 20), "sandal", n - 2, pipe.edit)
    rows["interpolate"] = pipe.interpolate(["sneaker", "ankle boot", "bag"], 3, frames=n, output_type="pt")
    enriched = pipe.enrich(sample.pixels[0], "ankle boot", range(n - 2), repeats=1, output_type="pt").images
    rows["enrich"] = torch.stack([*coarse(pipe, sample.pixels[0], 2), *enriched])
    seen = list(reveal(pipe, "ankle boot", [3]))
    chosen = [seen[round(i * (len(seen) - 1) / (n - 1))] for i in range(n)]
    rows["make up its mind"] = torch.stack([heat(moment.entropy[0], moment.images[0]) for moment in chosen])
    names, font, gap = list(rows), ImageFont.load_default(size=15), 6
    strips = [grid(images.expand(-1, 3, -1, -1), n, SCALE, gap=4, background=250) for images in rows.values()]
    left = 24 + max(round(font.getlength(name)) for name in names)
    paper = Image.new("RGB", (left + strips[0].width + 12, 12 + len(strips) * (strips[0].height + gap) + 6), (250, 250, 250))
    draw = ImageDraw.Draw(paper)
    for i, (name, strip) in enumerate(zip(names, strips, strict=True)):
        top = 12 + i * (strip.height + gap)
        paper.paste(strip, (left, top))
        draw.text((left - 12, top + strip.height // 2), name, (40, 40, 40), font, anchor="rm")
    save(paper, path)


def _painted(pipe: Pipeline, image: torch.Tensor, mask, condition: str, count: int, job=None) -> torch.Tensor:
    pixels, repaint = canvas(pipe, image, mask)
    answers = (job or pipe.inpaint)(image, mask, condition, range(count), feather=1, output_type="pt").images
    return torch.stack([pixels, torch.where(repaint, 158 / 255, pixels), *answers])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    pictures(options.out)
    figure(options.out / "jobs.png")
