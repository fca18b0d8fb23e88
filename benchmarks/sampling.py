"""How long one image takes, against what the published program does, in one run on one machine.

    python benchmarks/sampling.py --size L               # a 256 px image from L-d24, batch 1, guidance 2.5, n 20, S 100
    python benchmarks/sampling.py --size L --part tokenizer
    python benchmarks/sampling.py --part training        # steps of the `fashion` recipe

Weights are random; nothing depends on their values but which chains E9 leaves out, and that depends on how sure chains end: 0.85 here
(mean |2p - 1|), 0.94 on the shipped pipeline, where it leaves out more. Every row runs in a process of its own, `--repeats` times in turns
with the others; times are medians. The published arithmetic, and E1 to E8, are timed over some backbone calls and short chains and scaled
(marked so). Floor: the matrix products alone at the rate this machine reaches in that type, measured beside.
Writes runs/sampling/sampling-L.json (or as --out says) and prints a table.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import flop
import published
import torch

from bitmosaic import Pipeline
from bitmosaic.codes import Codes
from bitmosaic.conditions import Encoded
from bitmosaic.folders import write_json
from bitmosaic.nets.int8 import has_int8_products
from bitmosaic.nets.precision import has_bf16_products
from bitmosaic.nets.schedules import hidden_after
from bitmosaic.priors.masked import MaskedPrior
from bitmosaic.samplers import DEFAULT, EntropyOrderedSpec
from bitmosaic.systems.bigr.published import SIZES, published_prior_spec, published_tokenizer_spec

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def rows(size: str) -> dict[str, tuple[str, str, object]]:
    """name -> type of products, how (published, scaled or whole), sampler."""
    n, temperature = SIZES.get(size, SIZES["L"])[-2:]
    law = EntropyOrderedSpec(steps=n, evaluations=100, guidance_scale=2.5, temperature=temperature)
    ours = replace(DEFAULT, guidance_scale=2.5, temperature=temperature)
    found = {"published arithmetic, float32": ("float32", "published", law)}
    for name in ("float32", "bf16", "int8"):
        if (name == "bf16" and not has_bf16_products()) or (name == "int8" and not has_int8_products()):
            continue
        found[f"same law, E1 to E8, {name}"] = (name, "scaled", law)
        found[f"same law, E1 to E9, {name}"] = (name, "whole", law)
        found[f"law with n {n}, S 10, {name}"] = (name, "whole", replace(law, evaluations=10))
        found[f"the default, n {ours.steps}, S {ours.evaluations}, {name}"] = (name, "whole", ours)
    return found


def matrix_rate(dtype: str, m: int = 514, k: int = 1024, n: int = 2816) -> float:
    """FLOP a second of the products that this model is made of."""
    a, b = torch.randn(m, k), torch.randn(k, n)
    if dtype == "int8":
        a, b = (x.mul(30).round().to(torch.int8) for x in (a, b))

        def product():
            return torch._int_mm(a, b)
    else:
        a, b = a.to(DTYPES[dtype]), b.to(DTYPES[dtype])

        def product():
            return a @ b

    return 2 * m * k * n / median_time(product, 15)


def median_time(work, repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Count:
    """FLOP of the matrix products of backbone and head, by the shapes that pass."""

    def __init__(self, prior: MaskedPrior):
        self.spec, self.backbone, self.head = prior.spec, 0.0, 0.0
        prior.blocks[0].register_forward_pre_hook(self._of_backbone)
        prior.head.net.register_forward_pre_hook(self._of_head)

    def _of_backbone(self, block, given):
        self.backbone += len(given[0]) * flop.of_backbone(self.spec)

    def _of_head(self, net, given):
        self.head += given[0].shape[:-1].numel() * flop.of_head(self.spec)


@torch.inference_mode()
def one_row(size: str, name: str, folder: Path) -> dict:
    """One row's seconds and what it takes; runs in a process of its own."""
    dtype, how, sampler = rows(size)[name]
    pipeline = Pipeline.from_pretrained(folder, dtype=DTYPES[dtype])
    count = Count(pipeline.prior)
    if how == "whole":
        draw(pipeline, replace(sampler, steps=2, evaluations=2))  # warm-up
        count.backbone = count.head = 0.0
        seconds = draw(pipeline, sampler)
        backbone, head = count.backbone, count.head
    else:
        seconds, backbone, head = scaled(pipeline, sampler, count, theirs=how == "published")
    return {"seconds": seconds, "tflop_backbone": backbone / 1e12, "tflop_head": head / 1e12, "gib": peak_memory(),
            "gflops": matrix_rate(dtype) / 1e9, "scaled": how != "whole"}  # fmt: skip


def peak_memory() -> float:
    """GiB that this process has held at most; getrusage would count what its parent held before it."""
    status = Path("/proc/self/status")
    held = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return (int(held[1]) if held else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20


def scaled(pipeline: Pipeline, sampler, count: Count, theirs: bool, part: int = 10) -> tuple[float, float, float]:
    """Seconds and FLOP of backbone and head at a published setting: medians of some calls, times how many there are.

    Chains of `part` evaluations, theirs over all places, ours over the places hidden in every fourth round.
    """
    prior, n, s = pipeline.prior, sampler.steps, sampler.evaluations
    places, bits = prior.grid[0] * prior.grid[1], prior.spec.bits
    digits, known = torch.zeros(1, places, bits, dtype=torch.uint8), torch.zeros(1, places, dtype=torch.bool)
    given, null = (prior.embed(label, 1) for label in (torch.tensor([0]), None))
    both = Encoded.joined([given, null])
    contexts = prior.context(digits.repeat(2, 1, 1), known.repeat(2, 1), both)

    def backbone():
        if theirs:
            prior.context(digits, known, given), prior.context(digits, known, null)
        else:
            prior.context(digits.repeat(2, 1, 1), known.repeat(2, 1), both)

    def chain(m):
        if theirs:
            published.chain(prior, contexts[0], contexts[1], sampler.guidance_scale, part, lambda: torch.rand(places, bits))
        else:
            prior.head.chain(contexts[:, :m], sampler.guidance_scale, part, lambda: torch.rand(m, bits))

    hidden = [places] if theirs else [hidden_after(i, n, places) for i in range(0, n, 4)]
    count.backbone = count.head = 0.0
    backbone()
    for m in hidden:
        chain(m)
    work = n * count.backbone, n * s * count.head / (part * len(hidden))
    calls = [median_time(backbone, 5), *(median_time(lambda: chain(m), 5) for m in hidden)]  # noqa: B023
    decode = median_time(lambda: pipeline.decode(Codes(digits.view(1, *prior.grid, bits), prior.radix), "pt"), 1)
    return n * calls[0] + n * s * statistics.mean(calls[1:]) / part + decode, *work


def draw(pipeline: Pipeline, sampler) -> float:
    """Seconds for one image."""
    pipeline.sampler = sampler
    start = time.perf_counter()
    pipeline(0, 0, output_type="pt")
    return time.perf_counter() - start


def prepare(size: str, folder: Path) -> None:
    """A pipeline with random weights, bf16 on disk, whose chains end at a confidence of tanh(2.5 / 2) = 0.85."""
    if (folder / "config.json").exists():
        return
    torch.manual_seed(0)
    bits, side = (32, 512) if size == "L-512" else (24, 256)
    prior = published_prior_spec(size, bits).build()
    torch.nn.init.constant_(prior.head.net.out.bias, -2.5)
    Pipeline(published_tokenizer_spec(bits, side).build(), prior, EntropyOrderedSpec()).save_pretrained(folder, torch.bfloat16)


def sampling(options) -> None:
    """The table of one size."""
    folder = options.work / f"{options.size}-sure-pipeline"
    prepare(options.size, folder)
    chosen = [name for name in rows(options.size) if not options.only or any(word in name for word in options.only)]
    measured: dict[str, list[dict]] = {name: [] for name in chosen}
    for _ in range(options.repeats):
        for name in chosen:
            line = [sys.executable, __file__, "--size", options.size, "--row", name, "--work", str(options.work)]
            done = subprocess.run(line, check=True, capture_output=True, text=True)
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {measured[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    found = {}
    for name, runs in measured.items():
        found[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        found[name]["runs"] = [run["seconds"] for run in runs]
        found[name]["floor"] = 1000 * (found[name]["tflop_backbone"] + found[name]["tflop_head"]) / found[name]["gflops"]
    first = next(iter(found.values()))["seconds"]
    print("| one image | s | times as fast | TFLOP backbone + head | products at | floor s | peak GiB |\n|---|---|---|---|---|---|---|")
    for name, row in found.items():
        cells = [
            name + " (scaled)" * bool(row["scaled"]), f"{row['seconds']:.1f}", f"{first / row['seconds']:.1f}",
            f"{row['tflop_backbone']:.2f} + {row['tflop_head']:.2f}", f"{row['gflops']:.0f} GFLOP/s", f"{row['floor']:.1f}",
            f"{row['gib']:.2f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    write_json(options.out or options.work / f"sampling-{options.size}.json", {"threads": torch.get_num_threads(), "rows": found})


@torch.inference_mode()
def tokenizer(options) -> None:
    """Images a second, encoding and decoding."""
    bits, side = (32, 512) if options.size == "L-512" else (24, 256)
    plain = published_tokenizer_spec(bits, side).build().eval()
    first, found = {}, []
    kinds = [("float32", torch.float32, False), ("float32, channels_last", torch.float32, True)]
    if has_bf16_products():
        kinds += [("bf16", torch.bfloat16, False), ("bf16, channels_last", torch.bfloat16, True)]
    print("| tokenizer | batch | encode images/s | ratio | decode images/s | ratio |\n|---|---|---|---|---|---|")
    for batch in (1, 4):
        for name, dtype, last in kinds:
            net = plain.to(dtype=dtype, memory_format=torch.channels_last if last else torch.contiguous_format)
            images = torch.rand(batch, 3, side, side).to(dtype)
            images = images.to(memory_format=torch.channels_last) if last else images
            codes = net.encode(images)
            speeds = [batch / median_time(work, options.repeats) for work in (lambda: net.encode(images), lambda: net.decode(codes))]  # noqa: B023
            base = first.setdefault(batch, speeds)
            print(f"| {name} | {batch} | {speeds[0]:.2f} | {speeds[0] / base[0]:.2f} | {speeds[1]:.2f} | {speeds[1] / base[1]:.2f} |")
            found.append({"name": name, "batch": batch, "encode": speeds[0], "decode": speeds[1]})
    write_json(options.out or options.work / f"tokenizer-{options.size}.json", {"threads": torch.get_num_threads(), "rows": found})


def training(options) -> None:
    """Images a second of the `fashion` recipe's two games, each type in turns."""
    from types import SimpleNamespace

    from bitmosaic.codes import Codes
    from bitmosaic.recipes import fashion
    from bitmosaic.train.loop import State, play
    from bitmosaic.train.prior_game import PriorGame
    from bitmosaic.train.tokenizer_game import TokenizerGame

    run, rng = fashion(), torch.Generator().manual_seed(0)
    images = SimpleNamespace(images=torch.randint(0, 256, (64, 1, 28, 28), generator=rng).byte())
    digits = torch.randint(0, 2, (64, 7, 7, 20), generator=rng).byte()
    codes = SimpleNamespace(codes=Codes(digits, (2,) * 20), labels=torch.arange(64) % 10, captions=None)
    makers = {
        "tokenizer, perceptual": lambda: (TokenizerGame(run.tokenizer.build(), replace(run.tokenizer_losses, adversarial_start=10**9),
                                                        run.features.net.build()), images, run.tokenizer_training),
        "tokenizer, all losses": lambda: (TokenizerGame(run.tokenizer.build(), replace(run.tokenizer_losses, adversarial_start=0),
                                                        run.features.net.build()), images, run.tokenizer_training),
        "prior": lambda: (PriorGame(run.prior.build()), codes, run.prior_training),
    }  # fmt: skip
    types, found = ["float32", *(["bf16"] if has_bf16_products() else [])], []
    print("| training step of 64 | type | images/s | ratio |\n|---|---|---|---|")
    for name, make in makers.items():
        speeds: dict[str, list[float]] = {t: [] for t in types}
        for _ in range(options.repeats):
            for t in types:
                torch.manual_seed(0)
                game, batch, settings = make()
                walk = play(State.start(game, replace(settings, steps=7, precision=t)), lambda step: batch, replace(settings, steps=7, precision=t))  # noqa: B023, E501
                next(walk)
                start = time.perf_counter()
                speeds[t].append(64 * sum(1 for _ in walk) / (time.perf_counter() - start))
        for t in types:
            middle = statistics.median(speeds[t])
            print(f"| {name} | {t} | {middle:.0f} | {middle / statistics.median(speeds['float32']):.2f} |")
            found.append({"name": name, "type": t, "images_per_second": speeds[t]})
    write_json(options.out or options.work / "training.json", {"threads": torch.get_num_threads(), "rows": found})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="L")
    parser.add_argument("--part", choices=["sampling", "tokenizer", "training"], default="sampling")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="rows with one of these words in their names")
    parser.add_argument("--row", help="measure this row in this process and print it as JSON")
    parser.add_argument("--work", type=Path, default=Path("runs/sampling"))
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.row:
        print(json.dumps(one_row(options.size, options.row, options.work / f"{options.size}-sure-pipeline")))
    else:
        {"sampling": sampling, "tokenizer": tokenizer, "training": training}[options.part](options)
