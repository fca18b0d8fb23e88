"""Data, figures and pictures of docs/media.md: sound, clips, and bytes of JPEG files.

    dpkg -x sonic-pi-samples_*.deb samples; python benchmarks/media.py loops samples loops
    npm pack @code-dot-org/dance-party@1.0.3; python benchmarks/media.py dancers code-dot-org-dance-party-1.0.3.tgz dancers
    python benchmarks/media.py fashion fashion
    bitmosaic train sound --data loops --out runs/sound; bitmosaic train clips --data dancers --out runs/clips
    bitmosaic train jpeg --data fashion --size 32 --out runs/jpeg
    python benchmarks/media.py measure runs docs

Loops: Debian's `sonic-pi-samples` (mostly CC0). Dancers: twelve drawn characters, 25 dances each (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
from pathlib import Path

import torch
from PIL import Image

from bitmosaic.codes import lengths
from bitmosaic.images import animation, fashion_sample, save, sheet, to_pil
from bitmosaic.pipelines import Pipeline
from bitmosaic.train.claim import read_run
from bitmosaic.train.train import opened

KINDS = ("ambi", "bass", "bd", "drum", "elec", "loop", "perc", "tabla")  # of loops, by the beginnings of their names
SIDE = 48  # pixels of a dancer
SHEETS = "package/test/assets/sprite_sheets/"


def loops(root: Path, out: Path) -> None:
    """The samples of a package that was unpacked, a folder for each kind."""
    for file in sorted(root.rglob("*.flac")):
        kind = file.name.split("_")[0]
        if kind in KINDS:
            (out / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, out / kind / file.name)


def dancers(package: Path, out: Path) -> None:
    """A GIF of each character's each dance, on white, a folder for each character."""
    with tarfile.open(package) as files:
        about = json.load(files.extractfile(SHEETS + "characters.json"))
        for character, dances in about.items():
            for dance, told in dances.items():
                whole = Image.open(files.extractfile(SHEETS + told["spritesheet"])).convert("RGBA")
                frames = [framed(whole, frame) for frame in told["frames"]]
                animation(frames, out / character / f"{dance}.gif", 0.1, 0.1)


def framed(whole: Image.Image, told: dict) -> Image.Image:
    """One frame of an atlas, where it stood before its empty borders were cut."""
    at, own = told["frame"], told["spriteSourceSize"]
    canvas = Image.new("RGBA", (told["sourceSize"]["w"], told["sourceSize"]["h"]), "white")
    part = whole.crop((at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]))
    canvas.alpha_composite(part, (own["x"], own["y"]))
    return canvas.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def fashion(out: Path) -> None:
    """The test images of Fashion-MNIST as PNG files, a folder for each class."""
    sample = fashion_sample()
    for i in range(len(sample)):
        save(to_pil(sample.image(i)), out / sample.class_names[int(sample.labels[i])].replace("/", "-") / f"{i:05d}.png")


def measure(runs: Path, docs: Path) -> None:
    """Writes media.json and a picture of each: what was given, what its codes keep, what was drawn."""
    found = {}
    for name in ("sound", "clips", "jpeg"):
        if not (runs / name / "pipeline").exists():
            continue
        pipe, run = Pipeline.from_pretrained(runs / name / "pipeline"), read_run(runs / name)[0]
        source = opened(run)
        chosen = torch.arange(0, len(source), max(1, len(source) // 8))[:8]
        given = pipe.medium.floats(source.read(chosen)[0])
        codes = pipe.encode_pixels(given)
        made = pipe.decode(codes, "pt")
        names = pipe.class_names[:8]
        drawn = pipe(list(names), seeds=range(len(names)), output_type="pt")
        rows = [pipe.medium.preview(part) for part in (given, made, drawn)]
        columns = 8 if rows[0].shape[-1] < 2 * rows[0].shape[-2] else 4
        picture = sheet(torch.stack([row[:columns] for row in rows]), ["given", "decoded", "drawn"], scale=2 if name == "jpeg" else 1)
        save(picture, docs / "pictures" / f"{name}.png")
        report = runs / name / "tokenizer" / "report.json"
        figures = json.loads(report.read_text()) if report.exists() else {}
        found[name] = {key: figures[key] for key in ("count", "psnr", "ssim", "l1", "bits_per_image", "codebook") if key in figures}
        files = pipe.compress(list(given))
        found[name]["bytes compressed"] = round(sum(map(len, files)) / len(files), 1)
        if pipe.tokenizer.spec.end is not None:
            found[name] |= of_bytes(pipe)
    (docs / "media.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def of_bytes(pipe: Pipeline) -> dict[str, float]:
    """Of drawn streams of bytes: how many end by themselves, and how many of their bytes are a JPEG's before the first fault."""
    from bitmosaic.tokenizers.jpeg_bytes import first_fault

    count, end, whole, ended = 64, pipe.tokenizer.spec.end, 0.0, 0
    *_, step = pipe.stream([pipe.class_names[i % len(pipe.class_names)] for i in range(count)], seeds=range(count))
    for row, length in zip(step.codes.digits[..., 0], lengths(step.codes, end), strict=True):
        stream = bytes(row[:length].to(torch.uint8).tolist())
        whole += first_fault(stream) == len(stream)
        ended += length < len(row)
    return {"drawn that end": ended / count, "drawn without a fault": whole / count}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("loops", "dancers", "fashion", "measure"))
    parser.add_argument("paths", type=Path, nargs="+")
    asked = parser.parse_args()
    {"loops": loops, "dancers": dancers, "fashion": fashion, "measure": measure}[asked.part](*asked.paths)
