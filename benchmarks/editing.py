"""How well the shipped pipeline edits: masks that leave places known in part, other classes inside a mask, canvases beyond its frame.

    python benchmarks/editing.py                # all parts, 20 minutes on two cores
    python benchmarks/editing.py --part masks --each 2

masks      test images under masks of every kind: error on hidden pixels and whether the shipped classifier finds the image's class, where
           every place is hidden that a mask touches ("hidden", as it was before) and where known pixels steer ("steered")
edits      another class inside a mask, by guidance: answers of the class asked for, and how far in the classifier's space the nearest of
           5,000 test images is
outpaint   images carried on to the right and on all sides, where background is all that is to be painted: the share of painted pixels
           brighter than a tenth, by how windows lie

Writes docs/editing.json, docs/pictures/partly.png and docs/pictures/limits.png.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F
from tqdm import tqdm

from bitmosaic import Pipeline
from bitmosaic.evaluate.space import FeatureSpace
from bitmosaic.folders import read_json, write_json
from bitmosaic.images import fashion_sample, places_of, save, sheet, spread
from bitmosaic.pipelines.conditions import generators
from bitmosaic.pipelines.editing import fill as filling
from bitmosaic.pipelines.editing import windows
from bitmosaic.pipelines.editing.partly import KnownPlaces

DOCS = Path(__file__).resolve().parents[1] / "docs"
SKIPPED = 40  # images of each class, among which are those that settings were tried on
EDITS = (  # from, to, box
    ("ankle boot", "sandal", (0, 0, 28, 16)), ("ankle boot", "sandal", (0, 0, 28, 20)), ("sneaker", "ankle boot", (0, 0, 28, 16)),
    ("sandal", "sneaker", (0, 0, 28, 20)), ("pullover", "coat", (8, 0, 20, 28)),
)  # fmt: skip
COVER = 158 / 255


def scattered(share: float):
    return lambda seed: torch.rand(28, 28, generator=torch.Generator().manual_seed(seed)) < share


def drawn(draw):
    """A mask by strokes on a black picture."""

    def mask(seed: int) -> torch.Tensor:
        paper = Image.new("L", (28, 28))
        draw(ImageDraw.Draw(paper), np.random.default_rng(seed))
        return torch.from_numpy(np.array(paper)) > 127

    return mask


def strokes(width: int, count: int):
    return drawn(lambda pen, rng: [pen.line([int(x) for x in rng.integers(0, 28, 4)], 255, width) for _ in range(count)])


def letters(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for row in (2, 14):
        word = ("HELLO", "(c) ME", "2026", "demo")[rng.integers(4)]
        pen.text((int(rng.integers(-2, 6)), row + int(rng.integers(4))), word, 255, ImageFont.load_default(size=10))


MASKS = {
    "50 % at random": scattered(0.5), "80 % at random": scattered(0.8), "95 % at random": scattered(0.95),
    "four lines of one pixel": strokes(1, 4), "three lines of two pixels": strokes(2, 3), "letters": drawn(letters),
}  # fmt: skip


class Bench:
    """The shipped pipeline, its classifier and test images that no setting was tried on."""

    def __init__(self):
        self.pipe, self.space, self.sample = Pipeline.from_pretrained("fashion"), FeatureSpace.load("fashion"), fashion_sample()

    def some(self, name: int | str, count: int) -> list[torch.Tensor]:
        number = self.pipe.class_number(name)
        return list(self.sample.pixels[self.sample.labels == number][SKIPPED : SKIPPED + count])

    def right(self, images: torch.Tensor, numbers: torch.Tensor) -> float:
        found = self.space.measure((images * 255).round().byte()).logits.argmax(1)
        return float((found == numbers).float().mean())

    def painted(self, images: torch.Tensor, mask: torch.Tensor, seeds: Sequence[int], steered: bool) -> torch.Tensor:
        """One answer to each image (n, 1, H, W) without a class."""
        own = filling.known_of
        filling.known_of = own if steered else hidden
        try:
            return filling.fill(
                self.pipe, images / 255, mask, None, generators(seeds, self.pipe.device), 0, None, self.pipe.settings()
            )[0]
        finally:
            filling.known_of = own


def hidden(repaint: torch.Tensor, factor: int) -> KnownPlaces:
    """Every place that a mask touches is hidden, whatever else is known of it."""
    whole = ~places_of(repaint, factor)
    return KnownPlaces(whole, whole, torch.zeros_like(whole))


def masks(bench: Bench, each: int) -> dict:
    """By mask and way: PSNR over all hidden pixels, and the share of images whose class is found. One mask for one image of each class."""
    found: dict = {}
    images, numbers = torch.stack([torch.stack(bench.some(number, each)) for number in range(10)], 1), torch.arange(10)
    bar = tqdm(total=len(MASKS) * 2 * each, desc="masks", unit="batch", disable=None)
    for name, mask_of in MASKS.items():
        found[name] = {}
        for steered in (False, True):
            squares, pixels, right = 0.0, 0, 0.0
            for i in range(each):
                mask = mask_of(i)
                made = bench.painted(images[i], mask, range(10 * i, 10 * i + 10), steered)
                squares += float((made - images[i] / 255).square()[..., mask].sum())
                pixels += 10 * int(mask.sum())
                right += bench.right(made, numbers) / each
                bar.update()
            told = {"psnr": round(-10 * math.log10(squares / pixels), 2), "class found": round(right, 3)}
            found[name]["steered" if steered else "hidden"] = told
            tqdm.write(f"{name:28}{'steered' if steered else 'hidden':8} {told}")
    return found


def edits(bench: Bench, each: int) -> list[dict]:
    """By task and guidance, of four answers to each image."""
    whole = [bench.space.measure(bench.sample.pixels[i : i + 500]).pooled for i in range(0, 5000, 500)]
    found = []
    for before, after, where in EDITS:
        for guidance in (1.75, 3.0, 5.0):
            answers = [
                bench.pipe.edit(image, where, after, range(4), feather=1, guidance_scale=guidance, output_type="pt").images
                for image in bench.some(before, each)
            ]
            answers = torch.cat(answers)
            seen = bench.space.measure((answers * 255).round().byte())
            far = torch.cdist(seen.pooled, torch.cat(whole)).min(1).values
            right = bench.right(answers, torch.full((len(answers),), bench.pipe.class_number(after)))
            found.append({"from": before, "to": after, "box": where, "guidance": guidance})
            found[-1] |= {"class found": round(right, 3), "nearest": round(float(far.mean()), 2)}
            print(found[-1])
    return found


def outpaint(bench: Bench, each: int) -> list[dict]:
    """By padding and windows, one image of each class, two answers."""
    module, found = sys.modules[windows.__module__], []
    for padding in ((0, 0, 14, 0), (4, 4, 4, 4)):
        for name, steps, share in (("half their side apart", (2,), 0.75), ("by little steps", module.STEPS, module.SHARE)):
            own, module.STEPS, module.SHARE = (module.STEPS, module.SHARE), steps, share
            bright, count = 0.0, 0
            try:
                for number in range(10):
                    for image in bench.some(number, each):
                        made = bench.pipe.outpaint(image, padding, number, range(2), output_type="pt").images[:, 0]
                        outside = F.pad(torch.zeros(28, 28), [padding[i] for i in (0, 2, 1, 3)], value=1.0).bool()
                        bright, count = bright + float((made[:, outside] > 0.1).float().mean()), count + 1
            finally:
                module.STEPS, module.SHARE = own
            found.append({"padding": padding, "windows": name, "bright": round(bright / count, 3)})
            print(found[-1])
    return found


def pictures(bench: Bench) -> None:
    """What masks leave and what is made of it; and what the pipeline cannot do."""
    rows, image = [], bench.sample.pixels[0]
    for mask_of in MASKS.values():
        mask = mask_of(3)
        smooth = spread(image[None] / 255, ~mask)[0][0]
        before, now = (bench.painted(image.expand(n, -1, -1, -1), mask, range(n), steered) for n, steered in ((2, False), (3, True)))
        rows.append(torch.stack([image / 255, torch.where(mask, COVER, image / 255), smooth, *before, *now]))
    title = "given, what is known, its smooth continuation, two answers with all places hidden, three steered"
    save(sheet(torch.stack(rows), list(MASKS), 3, title), DOCS / "pictures" / "partly.png")
    pipe, pixels = bench.pipe, bench.sample.pixels
    large = F.interpolate(pixels[:1].float(), (42, 42), mode="bicubic")[0].round().clamp(0, 255).byte()
    given = [F.pad(pixels[i] / 255, (7, 7, 7, 7), value=COVER) for i in (1, 18)]
    hole = torch.zeros(42, 42, dtype=torch.bool)
    hole[14:34, 10:30] = True
    given.append(torch.where(hole, COVER, large / 255))
    made = [pipe.outpaint(pixels[i], 7, name, range(5), output_type="pt").images for i, name in ((1, "pullover"), (18, "bag"))]
    made.append(pipe.inpaint(large, hole, "ankle boot", range(5), fit="tile", output_type="pt").images)
    rows = [torch.cat([one[None], answers]) for one, answers in zip(given, made, strict=True)]
    save(sheet(torch.stack(rows), ["pullover, 7 pixels around", "bag, 7 pixels around", "tile"], 2, ""), DOCS / "pictures" / "limits.png")


def main(words: list[str] | None = None) -> dict:
    """Reads the arguments, measures what they name, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["masks", "edits", "outpaint", "pictures"], nargs="+")
    parser.add_argument("--each", type=int, default=3, help="images of each class")
    parser.add_argument("--out", type=Path, default=DOCS / "editing.json")
    options = parser.parse_args(words)
    bench, measure = Bench(), {"masks": masks, "edits": edits, "outpaint": outpaint}
    found = read_json(options.out) if options.out.exists() else {}
    for part in options.part or [*measure, "pictures"]:
        if part == "pictures":
            pictures(bench)
            continue
        found[part] = {"images of each class": options.each, "found": measure[part](bench, options.each)}
        write_json(options.out, found)
    return found


if __name__ == "__main__":
    main()
