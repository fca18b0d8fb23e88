"""`bitmosaic plan`: what a run will cost on some GPUs, before it begins."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmosaic import systems
from bitmosaic.commands.arguments import flags, split
from bitmosaic.commands.info import table
from bitmosaic.commands.train import chooser, with_fields
from bitmosaic.images import scan
from bitmosaic.images.specs import AnyFolderSpec, CodesSpec, FashionMNISTSpec, FolderSpec
from bitmosaic.names import plain
from bitmosaic.systems.bigr.published import IMAGENET
from bitmosaic.train.cost import STATE, Cost
from bitmosaic.train.dry_run import on_top
from bitmosaic.train.plan import FRAMEWORK, SLACK, costs, held
from bitmosaic.train.run import Run
from bitmosaic.train.tokenized import Manifest

WAYS = {"DDP": (False, False), "DDP, recompute": (False, True), "FSDP2": (True, False), "FSDP2, recompute": (True, True)}


@dataclass(frozen=True)
class Machines:
    """The GPUs that a run is planned for. ValueError for numbers out of range."""

    gpus: int = 1
    memory: str = "80GB"  # of each GPU
    tflops: float = 989.0  # peak of each, in the run's precision; 989: an H100 in bf16, dense, by its data sheet
    utilisation: float = 0.17  # share of the peak that is reached: 15 to 17 % was measured for BiGR-L on an H100, not compiled
    price: float = 2.0  # dollars an hour for each
    images: int | None = None  # of an epoch; None: as many as the run's images are

    def __post_init__(self):
        if self.gpus < 1 or (self.images is not None and self.images < 1) or not 0 <= self.price < math.inf:
            raise ValueError(f"gpus {self.gpus} and images {self.images} must be at least 1, price {self.price} not negative")
        if not 0 < self.utilisation <= 1 or not 0 < self.tflops < math.inf:
            raise ValueError(f"utilisation {self.utilisation} must be above 0 and at most 1, tflops {self.tflops} positive")
        self.bytes()

    def bytes(self) -> float:
        """Bytes of memory of each GPU. ValueError for a text such as "80"."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|GiB)", self.memory)
        if not found or not float(found[1]):
            raise ValueError(f"memory: got {self.memory!r}; give it as 80GB or 24GiB")
        return float(found[1]) * (10**9 if found[2] == "GB" else 2**30)


def plan(run: Run, machines: Machines) -> list[dict[str, Any]]:
    """Prints memory, operations, time and cost of each stage of a run, and returns these figures as a list with a mapping a stage."""
    images, whose = (machines.images, "as asked for") if machines.images is not None else images_of(run)
    found = [about(cost, machines, images) for cost in costs(run)]
    print(f"images:   {images:,}, {whose}\n")
    print("\n\n".join(text(stage, machines) for stage in found))
    hours = sum(stage["hours"] for stage in found)
    print(f"\ntogether: {hours:,.1f} hours on {machines.gpus} GPUs, {hours * machines.gpus * machines.price:,.0f} dollars")
    file = "the memory of what is read from a file, " if run.outside() else ""
    print(f"Left out: {file}encoding, reports. Held: with {size(FRAMEWORK)} of the framework's own and "
          f"{SLACK - 1:.1%} of its allocator's slack. Without a GPU: {on_top('cpu', run)}.")  # fmt: skip
    return found


def images_of(run: Run) -> tuple[int, str]:
    """The number of images in an epoch of a run, and where it comes from; ImageNet's where the folder does not exist."""
    images = run.data
    if isinstance(images, CodesSpec):
        return Manifest.read(images.path).about["images"], f"whose codes are in {plain(images.path)}"
    if isinstance(images, FashionMNISTSpec):
        return 60_000, "of Fashion-MNIST"
    if isinstance(images, AnyFolderSpec) and not Path(images.path).expanduser().is_dir():
        return IMAGENET, f"of ImageNet-1k, since there is no folder {plain(images.path)}; others by --images"
    if isinstance(images, AnyFolderSpec):
        return len(scan(images.path, isinstance(images, FolderSpec)).files), f"in {plain(images.path)}"
    return len(images.build()), "of the run"


def about(cost: Cost, machines: Machines, epoch: int) -> dict[str, Any]:
    """A stage's figures with `epoch` images in an epoch: bytes, floating-point operations, seconds."""
    training, gpus = cost.training, machines.gpus
    if training.batch_size < gpus:
        raise ValueError(f"gpus: got {gpus} for the {cost.name}'s batches of {training.batch_size}; give fewer, or larger batches")
    if training.batch_size % gpus:
        raise ValueError(f"gpus: {gpus} cannot share the {cost.name}'s batches of {training.batch_size} evenly; give a divisor")
    flop, again = cost.flop(gpus), cost.flop(gpus, recompute=True) if cost.block else cost.flop(gpus)
    speed = gpus * machines.tflops * 1e12 * machines.utilisation / (again if training.recompute else flop)  # images a second
    images = training.steps * training.batch_size
    there = {name: way for name, way in WAYS.items() if (cost.block or not any(way)) and (gpus > 1 or not way[0])}  # one shares nothing
    ways = {name: cost.memory(gpus, *way) for name, way in there.items()}
    return {
        "stage": cost.name, "parameters": cost.parameters, "batch": training.batch_size,
        "batch_a_gpu": math.ceil(training.batch_size / gpus), "steps": training.steps,
        "flop_an_image": flop, "flop_an_image_recomputed": again, "memory": ways,
        "images_a_second": speed, "bytes_read_a_second": speed * cost.read, "hours_an_epoch": epoch / speed / 3600,
        "hours": images / speed / 3600, "epochs": images / epoch, "epoch": epoch, "checkpoint": STATE * cost.parameters,
    }  # fmt: skip


def text(stage: dict[str, Any], machines: Machines) -> str:
    """A small table."""
    limit = machines.bytes()
    again = stage["flop_an_image_recomputed"] / stage["flop_an_image"]
    rows = [
        (stage["stage"], f"{stage['parameters']:,} parameters, checkpoints of {size(stage['checkpoint'])}"),
        ("batch", f"{stage['batch']}, {stage['batch_a_gpu']} on each of {machines.gpus} GPUs; {stage['steps']:,} steps"),
        ("operations", f"{stage['flop_an_image'] / 1e9:,.1f} GFLOP an image, forward and backward"),
    ]
    for name, bytes_ in stage["memory"].items():
        slower = f", {again:.2f} times the operations" if "recompute" in name and again > 1 else ""
        fits = "fits" if held(bytes_) <= limit else "does not fit"
        rows.append((name, f"{size(bytes_)} a GPU, {size(held(bytes_))} held: {fits} in {machines.memory}{slower}"))
    share = f"{machines.utilisation:.0%} of {machines.tflops:g} TFLOP/s"
    rows += [
        ("speed", f"{stage['images_a_second']:,.0f} images a second at {share}, {size(stage['bytes_read_a_second'])} a second read"),
        ("an epoch", f"{stage['hours_an_epoch']:,.2f} hours, of {stage['epoch']:,} images"),
        ("all", f"{stage['hours']:,.1f} hours, {stage['epochs']:,.1f} epochs"),
    ]
    return table(rows)


def size(bytes_: float) -> str:
    """Bytes as text in decimal units, as memory of GPUs is specified."""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= one:
            return f"{bytes_ / one:.1f} {unit}"
    return f"{bytes_ / 1e3:.1f} kB"


def read_arguments(arguments: Sequence[str]) -> Callable[[], list[dict[str, Any]]]:
    """`plan` for a command line: RECIPE, machines, the recipe's own arguments, and fields to override."""
    if not arguments or arguments[0] in ("-h", "--help"):
        show_help()
    name, *rest = arguments
    if name not in systems.recipes():
        raise ValueError(f"no recipe {name!r}; give one of {', '.join(systems.recipes())}")
    prog = f"bitmosaic plan {name}"
    if "-h" in rest or "--help" in rest:
        show_help()
    machines, rest = split(Machines, rest, prog)
    wanted = machines()
    choose = chooser(name)
    call, rest = split(choose, rest, prog)
    run = call()[0]
    return functools.partial(plan, with_fields(run, rest, prog, flags(choose)), wanted)


def show_help() -> None:
    """Prints the help and raises SystemExit."""
    print(
        "usage: bitmosaic plan RECIPE [--gpus N] [--memory 80GB] [the recipe's arguments] [--FIELD VALUE]\n\n"
        "Memory, operations, hours and dollars of a training run, before it begins. Allocates nothing.\n\n"
        "  --gpus INT           how many (1)\n  --memory TEXT        of each: 80GB, 24GiB (80GB)\n"
        "  --tflops FLOAT       peak of each in the run's precision (989: an H100 in bf16, dense)\n"
        "  --utilisation FLOAT  share of the peak that is reached (0.17, as measured)\n"
        "  --price FLOAT        dollars an hour for each (2)\n"
        "  --images INT         of an epoch (as many as there are in --data or --codes; without them ImageNet-1k's 1281167)\n\n"
        f"RECIPE: {', '.join(systems.recipes())}; its arguments and fields are those of 'bitmosaic train RECIPE --help'.\n\n"
        "  bitmosaic plan bigr-l --data imagenet --gpus 8 --memory 80GB\n"
        "  bitmosaic plan fashion --gpus 2 --memory 24GiB --prior-training.batch-size 256"
    )
    raise SystemExit(0)
