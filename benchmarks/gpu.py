"""One GPU: is it right, how many images a second, what share of what it could do, in how much memory. Made to end within eight minutes.

    python benchmarks/gpu.py                         # on a machine with CUDA
    python benchmarks/gpu.py --device cpu --tiny     # the same path at tiny sizes, which is how it is tested

First a small prior in float32 and bf16 against float32 on the CPU. Then whole images of L with random weights, decoding included, at batch
1, 16 and 64: the published law and the default, and beside them the published program's arithmetic, one round of it times how many there
are, since its rounds are alike. Nothing depends on the weights' values but which chains E9 leaves out. Then its tokenizer, and steps of
its training. Prints tables and writes JSON. What must hold on a GPU is tested in tests/test_gpu.py.
"""

import argparse
import copy
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import flop
import published
import torch

from bitmosaic import Pipeline
from bitmosaic.codes import Codes
from bitmosaic.conditions import ClassConditionSpec
from bitmosaic.folders import write_json
from bitmosaic.priors.bernoulli_diffusion import BernoulliDiffusionSpec
from bitmosaic.priors.masked import MaskedPriorSpec
from bitmosaic.samplers import DEFAULT, EntropyOrderedSpec
from bitmosaic.systems.bigr.published import bigr_l, published_prior_spec, published_tokenizer_spec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train import loop
from bitmosaic.train.cost import cost as cost_of
from bitmosaic.train.prior_game import PriorGame
from bitmosaic.train.stages import PriorStage

TINY = MaskedPriorSpec((4, 4), 12, 2, 2, 64, ClassConditionSpec(10), BernoulliDiffusionSpec(48, 2))
LAW = EntropyOrderedSpec(steps=20, evaluations=100, guidance_scale=2.5)
SAMPLERS = {"published law, S 100": LAW, "the default": replace(DEFAULT, guidance_scale=2.5, temperature=0.17)}
THEIRS = "published arithmetic (scaled)"
DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(work, device: str, repeats: int, warm: bool = True, most: float = 12.0) -> list[float]:
    """Of each call, after one that is not counted where `warm`; no new one begins after `most` seconds."""
    if warm:
        work()
    found, began = [], time.monotonic()
    while len(found) < repeats and (not found or time.monotonic() - began < most):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - start)
    return found


def ceilings(device: str, side: int) -> dict[str, float]:
    """TFLOP a second of a large matrix product in each type, and TB a second of a copy, read and written."""
    found = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * side**3 / statistics.median(seconds(lambda: a @ b, device, 5)) / 1e12  # noqa: B023
    x = torch.randn(16 * side**2, device=device)
    y = torch.empty_like(x)
    return found | {"copy": 2 * x.nbytes / statistics.median(seconds(lambda: y.copy_(x), device, 5)) / 1e12}


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
    for name in ("float32", "bf16"):
        context, p = ask(copy.deepcopy(prior), DTYPES[name], device)
        found[f"context, {name}"] = float((context - wanted[0]).norm() / wanted[0].norm())
        found[f"marginals, {name}"] = float((p - wanted[1]).abs().max())
    return found


class Count:
    """FLOP of the matrix products of backbone and head, by the shapes that pass."""

    def __init__(self, prior):
        self.spec, self.flop = prior.spec, 0.0
        prior.blocks[0].register_forward_pre_hook(self._of_backbone)
        prior.head.net.register_forward_pre_hook(self._of_head)

    def _of_backbone(self, block, given):
        self.flop += len(given[0]) * flop.of_backbone(self.spec)

    def _of_head(self, net, given):
        self.flop += given[0].shape[:-1].numel() * flop.of_head(self.spec)


def pipeline(tiny: bool, device: str, dtype: torch.dtype) -> Pipeline:
    """L with random weights whose chains end at a confidence of 0.85, which E9 depends on."""
    torch.manual_seed(0)
    spec, tokenizer = published_prior_spec("L", 24), published_tokenizer_spec(24)
    if tiny:
        spec, tokenizer = TINY, BinaryAutoencoderSpec(image_size=(8, 8), bits=12)
    with torch.device(device):
        prior, made = spec.build(), tokenizer.build()
    torch.nn.init.constant_(prior.head.net.out.bias, -2.5)
    return Pipeline(made, prior, LAW).to(device, dtype)


@torch.inference_mode()
def sampling(pipe: Pipeline, name: str, device: str, batches: list[int], tiny: bool, rate: float, until: float) -> list[dict]:
    """Rows of a type: each sampler and their arithmetic at each batch, as long as there is time."""
    rows, prior = [], pipe.prior
    count = Count(prior)
    samplers = {law: replace(s, steps=3, evaluations=s.evaluations // 10) if tiny else s for law, s in SAMPLERS.items()}
    for batch in batches:
        shape = (batch, prior.grid[0] * prior.grid[1], prior.spec.bits)
        digits, labels = torch.zeros(shape, dtype=torch.uint8, device=device), torch.zeros(batch, dtype=torch.long, device=device)
        known, law = torch.zeros(shape[:2], dtype=torch.bool, device=device), samplers["published law, S 100"]

        def draw(sampler):
            pipe(0, range(batch), sampler=sampler, output_type="pt", batch_size=batch)  # noqa: B023

        def theirs(law):
            draws = (shape[0] * shape[1], shape[2])  # noqa: B023
            published.round_(prior, digits, known, labels, law, lambda: torch.rand(draws, device=device))  # noqa: B023

        def decode():
            pipe.decode(Codes(digits.view(batch, *prior.grid, -1), prior.radix), "pt")  # noqa: B023

        works = {law: (draw, s, 1, None) for law, s in samplers.items()} | {THEIRS: (theirs, law, law.steps, decode)}
        for what, (work, sampler, times, after) in works.items():
            if time.monotonic() > until:
                return rows
            work(replace(sampler, steps=2, evaluations=2))  # warm-up
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            count.flop = 0.0
            runs = seconds(lambda: work(sampler), device, 1 if tiny else 3, warm=False)  # noqa: B023
            taken = times * statistics.median(runs) + (statistics.median(seconds(after, device, 3)) if after else 0.0)
            done = times * count.flop / len(runs)  # of the whole batch
            memory = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else 0.0
            rows.append({"type": name, "sampling": what, "batch": batch, "runs": runs, "images_per_second": batch / taken,
                         "tflop_an_image": done / batch / 1e12, "share": done / taken / rate / 1e12, "gib": memory})  # fmt: skip
    return rows


@torch.inference_mode()
def tokenizer(device: str, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Images a second of L's, encoded and decoded, in each type; "TF32": with cuDNN's rounding, which ours leaves out in use."""
    with torch.device(device):
        net, images, found = published_tokenizer_spec(24).build().eval(), torch.rand(batch, 3, 256, 256), {}
    for name, dtype in DTYPES.items():
        net, x = net.to(dtype), images.to(dtype)
        codes = net.encode(x)
        works = {name: (lambda: net.encode(x), lambda: net.decode(codes))}  # noqa: B023
        if name == "float32":
            works["TF32"] = (lambda: net.logits(x)), (lambda: net.pixels(codes.digits.to(dtype)))  # noqa: B023
        for what, both in works.items():
            speeds = [batch / statistics.median(seconds(work, device, repeats)) for work in both]
            found[what] = {"encode": speeds[0], "decode": speeds[1]}
    return found


def training(spec: MaskedPriorSpec, device: str, batch: int, recompute: bool, ordered: bool, compiled: bool) -> dict[str, float]:
    """A step of the prior in bf16: seconds, TFLOP a second, memory beside what was planned. `ordered`: see train/same_order.py."""
    settings = replace(bigr_l().prior_training, steps=10**6, batch_size=batch, recompute=recompute, compile=compiled)
    plain, base = loop.same_order, 0
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
    with torch.device(device):
        game = PriorGame(spec.build())
    if recompute:
        game.recompute()
    if compiled:
        game.compile()
    rng = torch.Generator().manual_seed(0)
    codes = Codes(torch.randint(0, 2, (batch, *spec.grid, spec.bits), generator=rng).byte(), (2,) * spec.bits)
    one = SimpleNamespace(codes=codes, labels=torch.zeros(batch, dtype=torch.long), captions=None)
    walk = loop.play(loop.State.start(game, settings, device), lambda step: one, settings, device)
    loop.same_order = plain if ordered else nullcontext
    try:
        next(walk)
        taken = statistics.median(seconds(lambda: next(walk), device, 3 if device == "cpu" else 12))
    finally:
        loop.same_order = plain
    stage = PriorStage(spec, prior_training=settings)
    cost = cost_of("prior", lambda: stage.game({}), lambda images: stage.batch(None, images), settings, "cuda")
    held = torch.cuda.max_memory_allocated() - base if device != "cpu" else 0
    return {"seconds": taken, "images_per_second": batch / taken, "tflops": batch * cost.flop() / taken / 1e12,
            "gb": held / 1e9, "planned_gb": cost.memory(1, False, recompute) / 1e9}  # fmt: skip


def steps(tiny: bool) -> dict[str, tuple[int, bool, bool, bool]]:
    """What is trained, by name: batch, recompute, ordered, compiled. What is compiled takes a minute to begin, so it stands last."""
    if tiny:
        return {"batch 2": (2, False, True, False), "batch 2, recompute": (2, True, True, False)}
    return {
        "batch 64": (64, False, True, False), "batch 64, sums in any order": (64, False, False, False),
        "batch 128": (128, False, True, False), "batch 128, recompute": (128, True, True, False),
        "batch 64, compiled": (64, False, True, True),
    }  # fmt: skip


def main(arguments=None) -> dict:
    """Measures what the command line asks for, prints it, and returns what is written as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the path")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.json"))
    options = parser.parse_args(arguments)
    device, tiny = options.device, options.tiny
    if device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {device}: no CUDA device is here; --device cpu --tiny tests the path")
    until = time.monotonic() + 60 * options.minutes * 0.75  # what has begun by then ends in time
    name, rates = torch.cuda.get_device_name() if device != "cpu" else "CPU", ceilings(device, 256 if tiny else 8192)
    found = {"device": name, "torch": torch.__version__, "ceilings": rates, "correctness": correctness(device)}
    found |= {"sampling": [], "training": {}}
    for what, difference in found["correctness"].items():
        print(f"{what:24}{difference:.2e}")
    print(f"\n{name}: products of bf16 {rates['bf16']:.1f}, of float32 {rates['float32']:.1f} TFLOP/s, copies {rates['copy']:.2f} TB/s\n")
    print("| type | sampling | batch | images/s | of the ceiling | GiB |\n|---|---|---|---|---|---|")
    for kind, dtype in DTYPES.items():
        for row in sampling(pipeline(tiny, device, dtype), kind, device, [1, 2] if tiny else [1, 16, 64], tiny, rates[kind], until):
            found["sampling"].append(row)
            speed, share, memory = f"{row['images_per_second']:.2f}", f"{100 * row['share']:.0f} %", f"{row['gib']:.1f}"
            print(f"| {kind} | {row['sampling']} | {row['batch']} | {speed} | {share} | {memory} |", flush=True)
    if not tiny:
        found["tokenizer"] = tokenizer(device, 16, 3)
        print("\n" + "\n".join(f"tokenizer, {what}: {x}" for what, x in found["tokenizer"].items()))
    for what, how in steps(tiny).items():
        if time.monotonic() < until:
            found["training"][what] = step = training(TINY if tiny else bigr_l().prior, device, *how)
            print(f"training step, {what}: " + ", ".join(f"{x:.3g} {unit}" for unit, x in step.items()), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, found)
    return found


if __name__ == "__main__":
    main()
