"""`bitmosaic plan`: what a run will cost on some GPUs, before it begins."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bitmosaic.commands.arguments import flags, override, split
from bitmosaic.commands.info import table
from bitmosaic.commands.train import chooser
from bitmosaic.recipes import RECIPES
from bitmosaic.train.plan import STATE, Cost, costs
from bitmosaic.train.run import Run

WAYS = {"DDP": (False, False), "DDP, recompute": (False, True), "FSDP2": (True, False), "FSDP2, recompute": (True, True)}


@dataclass(frozen=True)
class Machines:
    """What the run is to be trained on."""

    gpus: int = 1
    memory: str = "80GB"  # of each GPU
    tflops: float = 989.0  # peak of each, in the run's precision; 989: an H100 in bf16, dense, by its data sheet
    utilisation: float = 0.4  # share of the peak that is reached
    price: float = 2.0  # dollars an hour for each
    images: int = 1_281_167  # of an epoch; that many are in ImageNet-1k

    def __post_init__(self):
        if self.gpus < 1 or self.images < 1 or self.price < 0:
            raise ValueError(f"gpus {self.gpus} and images {self.images} must be at least 1, price {self.price} not negative")
        if not 0 < self.utilisation <= 1 or not 0 < self.tflops < math.inf:
            raise ValueError(f"utilisation {self.utilisation} must be above 0 and at most 1, tflops {self.tflops} positive")
        self.bytes()

    def bytes(self) -> float:
        """Of memory."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(GB|GiB)", self.memory)
        if not found or not float(found[1]):
            raise ValueError(f"memory: got {self.memory!r}; give it as 80GB or 24GiB")
        return float(found[1]) * (10**9 if found[2] == "GB" else 2**30)


def plan(run: Run, machines: Machines) -> list[dict[str, Any]]:
    """Prints what each stage of a run takes; the same as a list, a stage each."""
    found = [about(cost, machines) for cost in costs(run)]
    print("\n\n".join(text(stage, machines) for stage in found))
    hours = sum(stage["hours"] for stage in found)
    print(f"\ntogether: {hours:,.1f} hours on {machines.gpus} GPUs, {hours * machines.gpus * machines.price:,.0f} dollars")
    print("Left out: a feature network, encoding, reports; 1 to 2 GB of the framework's own on each GPU, and its allocator's slack.")
    return found


def about(cost: Cost, machines: Machines) -> dict[str, Any]:
    """A stage's figures: bytes, floating-point operations, seconds."""
    training, gpus = cost.training, machines.gpus
    if training.batch_size < gpus:
        raise ValueError(f"gpus: got {gpus} for the {cost.name}'s batches of {training.batch_size}; give fewer, or larger batches")
    if training.batch_size % gpus:
        raise ValueError(f"gpus: {gpus} cannot share the {cost.name}'s batches of {training.batch_size} evenly; give a divisor")
    flop = cost.flop_again if training.recompute else cost.flop
    speed = gpus * machines.tflops * 1e12 * machines.utilisation / flop  # images a second
    images = training.steps * training.batch_size
    there = {name: way for name, way in WAYS.items() if (cost.block or not any(way)) and (gpus > 1 or not way[0])}  # one shares nothing
    ways = {name: cost.memory(gpus, *way) for name, way in there.items()}
    return {
        "stage": cost.name, "parameters": cost.parameters, "batch": training.batch_size,
        "batch_a_gpu": math.ceil(training.batch_size / gpus), "steps": training.steps,
        "flop_an_image": cost.flop, "flop_an_image_recomputed": cost.flop_again, "memory": ways,
        "images_a_second": speed, "bytes_read_a_second": speed * cost.read, "hours_an_epoch": machines.images / speed / 3600,
        "hours": images / speed / 3600, "epochs": images / machines.images, "checkpoint": STATE * cost.parameters,
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
        rows.append((name, f"{size(bytes_)} a GPU: {'fits' if bytes_ <= limit else 'does not fit'} in {machines.memory}{slower}"))
    share = f"{machines.utilisation:.0%} of {machines.tflops:g} TFLOP/s"
    rows += [
        ("speed", f"{stage['images_a_second']:,.0f} images a second at {share}, {size(stage['bytes_read_a_second'])} a second read"),
        ("an epoch", f"{stage['hours_an_epoch']:,.2f} hours, of {machines.images:,} images"),
        ("all", f"{stage['hours']:,.1f} hours, {stage['epochs']:,.1f} epochs"),
    ]
    return table(rows)


def size(bytes_: float) -> str:
    """In decimal units, as GPUs are sold."""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= one:
            return f"{bytes_ / one:.1f} {unit}"
    return f"{bytes_ / 1e3:.1f} kB"


def read_arguments(arguments: Sequence[str]) -> Callable[[], list[dict[str, Any]]]:
    """`plan` for a command line: RECIPE, machines, the recipe's own arguments, and fields to override."""
    if not arguments or arguments[0] in ("-h", "--help"):
        show_help()
    name, *rest = arguments
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    prog = f"bitmosaic plan {name}"
    if "-h" in rest or "--help" in rest:
        show_help()
    machines, rest = split(Machines, rest, prog)
    wanted = machines()
    choose = chooser(name)
    call, rest = split(choose, rest, prog)
    run = call()[0]
    return functools.partial(plan, override(run, rest, prog, flags(choose)), wanted)


def show_help() -> None:
    """Prints it and ends with SystemExit."""
    print(
        "usage: bitmosaic plan RECIPE [--gpus N] [--memory 80GB] [the recipe's arguments] [--FIELD VALUE]\n\n"
        "Memory, operations, hours and dollars of a training run, before it begins. Allocates nothing.\n\n"
        "  --gpus INT           how many (1)\n  --memory TEXT        of each: 80GB, 24GiB (80GB)\n"
        "  --tflops FLOAT       peak of each in the run's precision (989: an H100 in bf16, dense)\n"
        "  --utilisation FLOAT  share of the peak that is reached (0.4)\n  --price FLOAT        dollars an hour for each (2)\n"
        "  --images INT         of an epoch (1281167: ImageNet-1k)\n\n"
        f"RECIPE: {', '.join(RECIPES)}; its arguments and fields are those of 'bitmosaic train RECIPE --help'.\n\n"
        "  bitmosaic plan bigr-l --data imagenet --gpus 8 --memory 80GB\n"
        "  bitmosaic plan fashion --gpus 2 --memory 24GiB --images 60000 --prior-training.batch-size 256"
    )
    raise SystemExit(0)
