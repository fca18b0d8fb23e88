"""Emoji with their names as captions: a folder to train on, and how well what is drawn fits its prompt (docs/captions.md).

The pictures are those of npm's `emoji-datasource-google` 16.0.0 (Noto Emoji, MIT). A caption is the emoji's name in Unicode in small
letters; of people with a skin tone, the name and the tone. Held out are combinations whose parts are all seen elsewhere: names that a
colour and a thing make, and a tenth of the pairs of a person and a tone.

    npm pack emoji-datasource-google@16.0.0
    python benchmarks/emoji.py prepare emoji-datasource-google-16.0.0.tgz emoji    # emoji/train and emoji/held-out
    python benchmarks/emoji.py judge emoji                                          # a network that tells emoji apart, for `measure`
    python benchmarks/emoji.py measure emoji PIPELINE --out docs

docs/captions.md has the commands that train between these.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tarfile
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bitmosaic import Pipeline
from bitmosaic.folders import write_json
from bitmosaic.images import Folder, save, sheet
from bitmosaic.priors.likelihood import code_length

TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
COLOURED = {"green heart", "brown heart", "blue book", "large purple square", "large yellow circle", "large red square"}  # held out
GUIDANCE = 3.0
TOPS = (1, 5, 10, 50)
PROMPTS = (
    "red apple", "blue heart", "large green circle", "cat face", "orange book", "woman firefighter", "a blue circle", "purple book",
)  # fmt: skip; the last two are no caption


def captioned(emoji: list[dict]) -> dict[str, str]:
    """Captions by file names."""
    found = {}
    for one in emoji:
        name = one["name"].lower().removeprefix("heavy ")
        if one.get("has_img_google"):
            found[one["image"]] = name
        for tones, other in one.get("skin_variations", {}).items():
            told = " and ".join(dict.fromkeys(TONES[tone] for tone in tones.split("-")))
            if other.get("has_img_google"):
                found[other["image"]] = f"{name} with {told} skin"
    return found


def held_out(caption: str) -> bool:
    """Whether a picture is kept from training."""
    return caption in COLOURED or (caption.endswith(" skin") and zlib.crc32(caption.encode()) % 10 == 0)


def prepare(package: Path, out: Path) -> None:
    """Writes the two folders."""
    with tarfile.open(package) as tar:
        emoji = json.load(tar.extractfile("package/emoji.json"))
        for file, caption in captioned(emoji).items():
            try:
                data = tar.extractfile(f"package/img/google/64/{file}").read()
            except KeyError:
                continue
            folder = out / ("held-out" if held_out(caption) else "train")
            folder.mkdir(parents=True, exist_ok=True)
            Image.open(io.BytesIO(data)).convert("RGBA").save(folder / file)
            (folder / file).with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")


class Judge(nn.Module):
    """Features of a picture, learned by telling all emoji apart under shifts, turns, noise and changes of brightness: each is a class."""

    def __init__(self, classes: int):
        super().__init__()
        widths, layers = (3, 32, 64, 128, 128), []
        for inside, outside in itertools.pairwise(widths):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(8, outside), nn.GELU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512, 128))
        self.out = nn.Linear(128, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Directions (b, 128) of pictures (b, 3, 32, 32) in [0, 1]."""
        return F.normalize(self.body(2 * images - 1), dim=-1)


def changed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures shifted, scaled, blurred, noisy and of other brightness, as what a small model draws differs from what it has seen."""
    b = len(images)
    scale, shift = 1 + 0.15 * (2 * torch.rand(b, generator=rng) - 1), 0.15 * (2 * torch.rand(b, 2, generator=rng) - 1)
    turn = torch.zeros(b, 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = scale
    turn[:, :, 2] = shift
    moved = F.grid_sample(images, F.affine_grid(turn, images.shape, align_corners=False), padding_mode="border", align_corners=False)
    soft = F.interpolate(F.avg_pool2d(moved, 2), scale_factor=2, mode="bilinear")
    share = torch.rand(b, 1, 1, 1, generator=rng)
    moved = moved * share + soft * (1 - share)
    bright = 1 + 0.2 * (2 * torch.rand(b, 1, 1, 1, generator=rng) - 1)
    return (moved * bright + 0.05 * torch.randn(moved.shape, generator=rng)).clamp(0, 1)


def real(folder: Path) -> tuple[Tensor, list[str]]:
    """All pictures of both parts, (n, 3, 32, 32) in [0, 1], and their captions."""
    parts = [Folder(folder / part, 32, 3, classes=False, captions="beside") for part in ("train", "held-out")]
    images = torch.stack([part.image(i) for part in parts for i in range(len(part))]).float() / 255
    return images, [text for part in parts for text in part.captions]


def judge(folder: Path, steps: int = 1500) -> None:
    """Trains the judge on every emoji, held out or not, and keeps it beside them."""
    images, _ = real(folder)
    torch.manual_seed(0)
    net, rng = Judge(len(images)), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(images), (64,), generator=rng)
        logits = 16 * net(changed(images[rows], rng)) @ F.normalize(net.out.weight, dim=-1).T
        loss = F.cross_entropy(logits, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"judge: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    save_file(net.state_dict(), folder / "judge.safetensors")


@torch.inference_mode()
def ranks(net: Judge, drawn: Tensor, own: list[int], images: Tensor) -> Tensor:
    """At which place, counted from 1, each drawn picture's own emoji stands among all real ones by likeness."""
    of = torch.cat([net(part) for part in images.split(250)])
    likeness = net(drawn) @ of.T
    return 1 + (likeness > likeness[torch.arange(len(own)), own][:, None]).sum(1)


def told(found: Tensor, count: int) -> dict[str, float]:
    """Shares of pictures whose own emoji is among the nearest, and the median place."""
    top = {f"top {k}": round(float((found <= k).float().mean()), 4) for k in TOPS}
    return {**top, "median place": float(found.float().median()), "pictures": len(found), "of": count}


def measure(folder: Path, path: str, out: Path, each: int) -> None:
    """Writes emoji.json and the sheet of prompts; `each`: pictures of those seen, and of those held out."""
    images, captions = real(folder)
    pipeline, count = Pipeline.from_pretrained(path), len(Folder(folder / "train", 32, 3, classes=False))
    net = Judge(len(images)).eval()
    net.load_state_dict(load_file(folder / "judge.safetensors"))
    held = [i for i, text in enumerate(captions) if text in COLOURED]
    rng = torch.Generator().manual_seed(0)
    asked = {
        "seen": torch.randperm(count, generator=rng)[:each].tolist(),
        "held out": [*held, *(count + torch.randperm(len(images) - count, generator=rng)).tolist()][:each],
    }  # fmt: skip
    found: dict = {"chance": {f"top {k}": round(k / len(images), 4) for k in TOPS}}
    for name, own in asked.items():
        given = [captions[i] for i in own]
        found[name] = {"bits of the real one's codes": bits(pipeline, images[own], given)}
        drawn = pipeline(given, seeds=range(len(own)), guidance_scale=GUIDANCE, output_type="pt")
        found[name]["drawn"] = told(ranks(net, drawn, own, images), len(images))
        again = pipeline.decode(pipeline.encode(images[own]), "pt")
        found[name]["real, encoded and decoded"] = told(ranks(net, again, own, images), len(images))
        print(name, json.dumps(found[name], indent=1), flush=True)
    write_json(out / "emoji.json", found)
    rows = []
    for prompt in [*PROMPTS, *(captions[i] for i in held)]:
        own = [images[captions.index(prompt)]] if prompt in captions else [torch.ones(3, 32, 32)]
        rows.append(torch.stack([*own, *pipeline(prompt, seeds=range(4), guidance_scale=GUIDANCE, output_type="pt")]))
    prompts = [*PROMPTS, *(f"{captions[i]} (held out)" for i in held)]
    save(sheet(torch.stack(rows), prompts, 2, note="left the real one; right four drawn, seeds 0 to 3"), out / "pictures" / "emoji.png")


@torch.no_grad()
def bits(pipeline: Pipeline, images: Tensor, captions: list[str]) -> dict[str, float]:
    """Mean code length of pictures under their own captions, those of their neighbours in the list, and none; and how often the own is
    shortest of the first two."""
    codes = pipeline.encode(images)
    known, found = torch.zeros(len(codes), *codes.grid, dtype=torch.bool), {}
    for name, given in {"own": captions, "another's": captions[1:] + captions[:1], "none": [None] * len(captions)}.items():
        rng = torch.Generator().manual_seed(0)
        found[name] = code_length(pipeline.prior, codes, known, pipeline.reader.read(given), rng)
    wins = float((found["own"] < found["another's"]).float().mean())
    return {**{name: round(float(x.mean()), 1) for name, x in found.items()}, "own is shorter": round(wins, 3), "pictures": len(codes)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["prepare", "judge", "measure"])
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--each", type=int, default=48)
    given = parser.parse_args()
    if given.part == "prepare":
        prepare(Path(given.paths[0]), Path(given.paths[1]))
    elif given.part == "judge":
        judge(Path(given.paths[0]))
    else:
        measure(Path(given.paths[0]), given.paths[1], given.out, given.each)
