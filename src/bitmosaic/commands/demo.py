"""`bitmosaic demo`: shows what a pipeline does, as pictures and a page."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bitmosaic.commands.demo_page import CodesPictures, Pictures, page
from bitmosaic.commands.drawing import conditions
from bitmosaic.commands.files import SOFTWARE, Files, tell_unreadable, tell_used, written_by_us
from bitmosaic.commands.pipelines import DEFAULT, Drawing, load
from bitmosaic.commands.reconstruct import pairs, shipped, side_by_side
from bitmosaic.commands.sample import draw
from bitmosaic.evaluate.reconstruction import reconstruction_report
from bitmosaic.folders import write_json, written_beside
from bitmosaic.images import ArrayImages, ImageSet, animation, save, sheet, to_pil, to_uint8
from bitmosaic.names import plain
from bitmosaic.nets.parameters import parameters_of
from bitmosaic.pipelines import Condition, Pipeline, TwoStagePipeline
from bitmosaic.tokenizers import Tokenizer
from bitmosaic.train.pictures import enlargement

MARK = "demo.json"  # marks a folder as a demo's, and says how it was made
FILES = (MARK, "index.html", "classes.png", "reconstructions.png", "reveal.gif")
CLASSES = 20  # shown, at most
REAL = 16  # real images shown, at most
BLANK, LINE = 158, 138  # grey levels of a hidden place and of its edges


def demo(
    *, out: Path = Path("demo"), pipeline: str = DEFAULT, count: int = 8, seed: int = 0,
    precision: Drawing = "auto",
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="IMAGE ...", help_behavior_hint="")] = (),
) -> Path:  # fmt: skip
    """Shows what a pipeline does, as a page: images of each class, reconstructions of real images, one image revealed step by step.

    Writes classes.png, reconstructions.png, reveal.gif and index.html, which shows them with their timings and can be moved or sent by
    itself; for a pipeline without codes classes.png and the page. Takes a minute or two on two CPU cores with the pipeline fashion.

    Args:
        out: folder to write; an older demo is replaced, any other content is an error.
        pipeline: name of a shipped pipeline (see 'bitmosaic list'), or folder of a pipeline or of a finished training run.
        count: images of each class.
        seed: of the first image of each class; each further one has the next seed.
        precision: of the prior; auto: bf16 where the processor has bf16 arithmetic, about two and a half times faster, else float32.
        images: real images to reconstruct, files or folders, cropped at the centre and scaled; none: bundled test images.

    Returns:
        The page, index.html.
    """
    if count < 1:
        raise ValueError(f"count: got {count}; give a whole number of at least 1")
    out = Path(out).expanduser()
    check_replaceable(out)
    clock = Clock()
    with clock("loading the pipeline"):
        pipe = load(pipeline, precision=precision)
    real = real_images(pipe, images)
    tell_used(() if real is None else real.told())
    precision = pipe.precision
    asked = {"out": str(out), "pipeline": str(pipeline), "count": count, "seed": seed, "precision": precision}
    asked["images"] = [str(path) for path in images]
    with written_beside(out.resolve()) as folder:
        # reconstructions are computed in float32, as `bitmosaic reconstruct` does, whatever the precision of drawing
        whole = pipe if real is None or pipe.precision == "float32" else load(pipeline, kind=TwoStagePipeline)
        facts, pictures = make(pipe, whole, real, folder, count, seed, clock)
        facts = {"software": SOFTWARE, **asked, **facts}
        facts["commands"] = commands(facts)
        (folder / "index.html").write_text(page(facts, pictures), encoding="utf-8")
        write_json(folder / MARK, facts)
    if real is not None:
        tell_unreadable(real)
    made = [name for name in FILES if (out / name).exists()]
    print(plain(f"{out}: {', '.join(made)}, made in {clock.total():.0f} s"), plain(f"page: {out / 'index.html'}"), sep="\n")
    return out / "index.html"


def check_replaceable(out: Path) -> None:
    """ValueError where `out` is anything but new, empty, or an older demo with nothing else in it."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: {out} is a file; give a folder")
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    others = [name for name in found if name not in FILES]
    if found and (others or not written_by_us(out / MARK)):
        named = ", ".join((others or found)[:3])
        raise ValueError(f"out: {out} holds files that are not a demo's ({named}), so it is left as it is; give a new or an empty folder")


@dataclass
class Clock:
    """Seconds that each part took."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - start

    def total(self) -> float:
        """Seconds since the start, time between the parts included."""
        return time.perf_counter() - self.started


def real_images(pipe: Pipeline, images: Sequence[Path]) -> ImageSet | None:
    """The images to reconstruct; None for a pipeline without codes, and ValueError where images are named for it."""
    size, channels = pipe.image_size, pipe.channels
    if isinstance(pipe, TwoStagePipeline):
        return Files(images, size, channels, "crop", pipe.background) if images else shipped(REAL, size, channels)
    if images:
        raise ValueError(f"images: this is a {type(pipe).__name__}, which {pipe.does}, so none can be reconstructed; leave them out")
    return None


def make(
    pipe: Pipeline, whole: Pipeline, real: ImageSet | None, folder: Path, count: int, seed: int, clock: Clock
) -> tuple[dict[str, Any], Pictures]:
    """Draws the pictures into `folder`, and returns the facts of demo.json and the pictures of the page."""
    labels, wanted = zip(*conditions(pipe)[:CLASSES], strict=True)
    with clock("drawing the classes"):
        asked = [(one, seed + i) for one in wanted for i in range(count)]
        drawn = [image for _, some in draw(pipe, asked, "classes") for image in some]
    rows = torch.stack(drawn).unflatten(0, (-1, count))
    save(sheet(rows, labels, enlargement(drawn[0].shape[-1])), folder / "classes.png", Software=SOFTWARE, Seed=seed)
    codes, shown = {}, None
    if real is not None:
        codes, shown = make_codes(pipe, whole.tokenizer, real, folder, (labels[-1], wanted[-1]), seed, clock)
    facts = {
        "image_size": list(pipe.image_size),
        "channels": pipe.channels,
        "parameters": {name: parameters_of(part) for name, part in pipe.parts.items()},
        "classes": list(labels),
        "of_classes": len(pipe.class_names),
        **codes,
        "settings": pipe.settings().to_json(),
        "seconds": {**clock.seconds, "all together": clock.total()},
        "machine": machine(),
    }
    return facts, Pictures([to_pil(image) for image in drawn], shown)


def make_codes(
    pipe: TwoStagePipeline, tokenizer: Tokenizer, real: ImageSet, folder: Path, last: tuple[str, Condition], seed: int, clock: Clock
) -> tuple[dict[str, Any], CodesPictures]:
    """The same for the pictures that need codes; last: label and condition of the image that is revealed."""
    with clock("reconstructing real images"):
        given, made = pairs(tokenizer, real, REAL)
    save(side_by_side(given, made), folder / "reconstructions.png", Software=SOFTWARE)
    with clock("revealing one image"):
        frames, known = reveal(pipe, last[1], seed)
    animation(frames, folder / "reveal.gif", seconds_per_frame=0.2, hold_last=3.0, comment=SOFTWARE)
    bits = sum((r - 1).bit_length() for r in pipe.radix)
    facts = {"grid": list(pipe.grid), "family": pipe.family, "bits": bits, "revealed": last[0], "known": known, **quality(tokenizer, given)}
    shown = [[to_pil(image) for image in images] for images in (given, made)]
    return facts, CodesPictures(*shown, frames, (folder / "reveal.gif").read_bytes())


def quality(tokenizer: Tokenizer, given: Tensor) -> dict[str, Any]:
    """The reconstruction report of images (n, C, H, W) in [0, 1], and the PSNR of each in dB."""
    pixels = to_uint8(given)
    whole, *each = (reconstruction_report(tokenizer, ArrayImages(some)) for some in (pixels, *pixels.split(1)))
    return {"reconstruction": whole.to_json(), "psnr": [report.psnr for report in each]}


def reveal(pipe: TwoStagePipeline, condition, seed: int) -> tuple[list[Image.Image], list[int]]:
    """A frame before the first step and one after each, and the number of known places after each step."""
    size, channels, factor = pipe.image_size, pipe.channels, pipe.factor
    nothing = torch.zeros(pipe.grid, dtype=torch.bool)
    frames, known = [covered(torch.zeros(channels, *size), nothing, factor)], []
    steps = pipe.stream(condition, seed)
    for step in tqdm(steps, "reveal", unit="step", disable=None, dynamic_ncols=True, leave=False):
        frames.append(covered(pipe.decode(step.codes, "pt")[0], step.known[0].cpu(), factor))
        known.append(int(step.known.sum()))
    return frames, known


def covered(image: Tensor, known: Tensor, factor: int) -> Image.Image:
    """An image (C, H, W) in [0, 1], enlarged, with a blank cell where `known` (rows, columns) is False."""
    scale = max(1, 224 // image.shape[-1])
    cell = torch.full((factor * scale, factor * scale), BLANK, dtype=torch.uint8)
    cell[0], cell[:, 0] = LINE, LINE
    blank = cell.repeat(*known.shape)
    return to_pil(torch.where(_enlarged(known, len(cell)), _enlarged(to_uint8(image), scale), blank))


def _enlarged(image: Tensor, scale: int) -> Tensor:
    return image.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def commands(facts: dict[str, Any]) -> dict[str, str]:
    """The commands that reproduce each picture."""
    drawn = ["--count", str(facts["count"]), "--seed", str(facts["seed"]), "--precision", facts["precision"]]
    shown = ["--classes", *facts["classes"]] if facts["of_classes"] > len(facts["classes"]) else []
    images = ["--images", *facts["images"]] if facts["images"] else []
    words = {"classes": ["sample", facts["pipeline"], *shown, *drawn]}
    if "grid" in facts:
        words["reconstructions"] = ["reconstruct", *facts["images"], "--pipeline", facts["pipeline"]]
        words["reveal"] = ["demo", "--pipeline", facts["pipeline"], *drawn, "--out", facts["out"], *images]
    return {picture: shlex.join(["bitmosaic", *some]) for picture, some in words.items()}


def machine() -> dict[str, str]:
    """The versions and the processor, by name, as text."""
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    return {
        "bitmosaic": SOFTWARE.removeprefix("bitmosaic "),
        "PyTorch": torch.__version__,
        "Python": platform.python_version(),
        "processor": f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} of them used",
    }


def cpuinfo(name: str) -> str:
    """An entry of /proc/cpuinfo for the first processor; empty on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")
