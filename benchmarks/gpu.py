"""One GPU: is it right, how many images a second, what share of what it could do, in how much memory. Made to end within eight minutes.

    python benchmarks/gpu.py                         # on a machine with CUDA
    python benchmarks/gpu.py --device cpu --tiny     # the same path at tiny sizes, which is how it is tested

First a small prior in float32 and bf16 against float32 on the CPU; then L and XL with random weights (nothing depends on their values but
which chains E9 leaves out) at batch 1, 8 and 64 in bf16, blocks and head compiled; then a training step of L. Prints a table and writes
JSON.
"""

import argparse
import copy
import statistics
import time
from dataclasses import replace
from pathlib import Path

import flop
import torch

from bitmosaic.codes import Codes
from bitmosaic.folders import write_json
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.conditions import ClassConditionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.recipes.bigr import published_prior_spec
from bitmosaic.samplers import DEFAULT, EntropyOrderedSpec
from bitmosaic.train.loop import State, play
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.training import Training

TINY = MaskedPriorSpec((4, 4), 12, 2, 2, 64, ClassConditionSpec(10), BernoulliDiffusionSpec(48, 2))
SAMPLERS = {
    "published law, S 100": EntropyOrderedSpec(steps=20, evaluations=100, guidance_scale=2.5),
    "the default": replace(DEFAULT, guidance_scale=2.5, temperature=0.17),
}


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(work, device: str, repeats: int) -> float:
    """Median, after one call to warm up."""
    work()
    wait(device)
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def ceiling(device: str, side: int) -> float:
    """FLOP a second of a large bf16 matrix product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / seconds(lambda: a @ a, device, 10)


@torch.inference_mode()
def correctness(device: str) -> dict[str, float]:
    """Largest relative differences from float32 on the CPU: what the backbone says, and marginals of the head."""
    torch.manual_seed(0)
    spec = MaskedPriorSpec((8, 8), 24, 6, 4, 256, ClassConditionSpec(10), BernoulliDiffusionSpec(256, 3))
    prior = spec.build().eval()
    digits, known = torch.randint(0, 2, (4, 64, 24)).byte(), torch.rand(4, 64) < 0.5
    labels, noise = torch.tensor([0, 3, 5, 9]), torch.rand(4 * 64, 24)

    def ask(part, dtype, place):
        part = part.to(place, dtype)
        vectors = part.embed(labels.to(place), 4)
        context = part.context(digits.to(place), known.to(place), vectors)
        p = part.head.marginals(context.flatten(0, 1)[None], 1.0, noise.to(place))
        return context.float().cpu(), p.float().cpu()

    wanted = ask(prior, torch.float32, "cpu")
    found = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        context, p = ask(copy.deepcopy(prior), dtype, device)
        found[f"context, {name}"] = float((context - wanted[0]).norm() / wanted[0].norm())
        found[f"marginals, {name}"] = float((p - wanted[1]).abs().max())
    return found


@torch.inference_mode()
def sampling(spec: MaskedPriorSpec, device: str, batches: list[int], compiled: bool, repeats: int, rate: float, until: float) -> list[dict]:
    """Rows of a size: each sampler at each batch, as long as there is time."""
    with torch.device(device):
        prior = spec.build().eval().to(torch.bfloat16)
    torch.nn.init.constant_(prior.head.net.out.bias, -2.5)  # chains end at a confidence of 0.85, which E9 depends on
    if compiled:
        for block in prior.blocks:
            block.compile(dynamic=False)
        prior.head.net.compile(dynamic=True)
    rows = []
    for batch in batches:
        for name, sampler in SAMPLERS.items():
            sampler = replace(sampler, steps=3, evaluations=sampler.evaluations // 10) if spec is TINY else sampler
            if time.monotonic() > until:
                return rows
            asked, plain = [], prior.head._guided

            def counted(x, *others):
                asked.append(len(x))  # noqa: B023
                return plain(x, *others)  # noqa: B023

            codes = Codes(torch.zeros(batch, *spec.grid, spec.bits, dtype=torch.uint8, device=device), prior.radix)
            known = torch.zeros(batch, *spec.grid, dtype=torch.bool, device=device)
            labels = torch.zeros(batch, dtype=torch.long, device=device)

            def draw():
                generators = [torch.Generator(device).manual_seed(i) for i in range(batch)]  # noqa: B023
                for _ in sampler.build()(prior, codes, known, labels, generators):  # noqa: B023
                    pass

            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            prior.head._guided = counted  # around the compiled network: a hook on it would have it compiled again
            draw()
            prior.head._guided = plain
            taken = seconds(draw, device, repeats)
            work = 2 * (batch * sampler.steps * flop.of_backbone(spec) + sum(asked) * flop.of_head(spec))  # two branches
            memory = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else float("nan")
            rows.append({"sampler": name, "batch": batch, "images_per_second": batch / taken, "share": work / taken / rate, "gib": memory})
    return rows


def training(spec: MaskedPriorSpec, device: str, batch: int, compiled: bool) -> float:
    """Images a second of a training step."""
    settings = Training(steps=6, batch_size=batch, learning_rate=1e-4, precision="bf16")
    game = PriorGame(spec.build().to(device))
    if compiled:
        game.compile()
    rng = torch.Generator().manual_seed(0)
    codes = Codes(torch.randint(0, 2, (batch, *spec.grid, spec.bits), generator=rng).byte(), (2,) * spec.bits)
    one = type("Batch", (), {"codes": codes, "labels": torch.zeros(batch, dtype=torch.long)})
    walk = play(State.start(game, settings), lambda step: one, settings, device)
    next(walk)
    wait(device)
    start = time.perf_counter()
    done = sum(1 for _ in walk)
    wait(device)
    return batch * done / (time.perf_counter() - start)


def main(arguments=None) -> dict:
    """Measures what the command line asks for, prints it, and returns what is written as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the path")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.json"))
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: no CUDA device is here; --device cpu --tiny tests the path")
    until = time.monotonic() + 60 * options.minutes * 0.75  # what has begun by then ends in time
    sizes = {"tiny": TINY} if options.tiny else {"L": published_prior_spec("L", 24), "XL": published_prior_spec("XL", 24)}
    batches, repeats = ([1, 2], 1) if options.tiny else ([1, 8, 64], 3)
    rate = ceiling(options.device, 256 if options.tiny else 8192)
    name = torch.cuda.get_device_name() if options.device != "cpu" else "CPU"
    found = {"device": name, "torch": torch.__version__, "ceiling_tflops": rate / 1e12, "correctness": correctness(options.device)}
    for what, difference in found["correctness"].items():
        print(f"{what:24}{difference:.2e}")
    print(f"\n{name}, bf16 products at {rate / 1e12:.1f} TFLOP/s\n")
    print("| size | sampling | batch | images/s | of the ceiling | GiB |\n|---|---|---|---|---|---|")
    for size, spec in sizes.items():
        found[size] = sampling(spec, options.device, batches, options.compile, repeats, rate, until)
        for row in found[size]:
            speed, share, memory = f"{row['images_per_second']:.1f}", f"{100 * row['share']:.0f} %", f"{row['gib']:.1f}"
            print(f"| {size} | {row['sampler']} | {row['batch']} | {speed} | {share} | {memory} |")
    if time.monotonic() < until:
        first = next(iter(sizes))
        found["training_images_per_second"] = training(sizes[first], options.device, 2 if options.tiny else 64, options.compile)
        print(f"\ntraining step of {first}: {found['training_images_per_second']:.1f} images/s")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    return found


if __name__ == "__main__":
    main()
