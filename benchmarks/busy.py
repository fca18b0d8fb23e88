"""How fast we are beside other busy processes, and on an idle machine, by the way OpenMP's threads wait at barriers.

    python benchmarks/busy.py --others 0 2 --json docs/busy.json

Ways are compared in turns, each in a process of its own: `ours` (bitmosaic.threads), `spin` (libgomp's own default) and `passive` (sleeping
at once, OMP_WAIT_POLICY). Work: drawing with the shipped pipeline, training steps of its prior, a studio that is asked for four images, and
two ranks of torchrun with two threads each. `--others N` runs beside N loops that do nothing but turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

WAYS = {"ours": {}, "spin": {"GOMP_SPINCOUNT": "300000"}, "passive": {"OMP_WAIT_POLICY": "passive"}}
SECONDS = 8.0  # of work in each process, after the first piece


def paced(piece, seconds: float = SECONDS) -> float:
    """Images a second over at least `seconds`; `piece(i)` does some work and says of how many images."""
    piece(0)
    start, images = time.perf_counter(), 0
    for i in count(1):
        images += piece(i)
        if time.perf_counter() - start > seconds:
            return images / (time.perf_counter() - start)


def sampling() -> float:
    from bitmosaic import Pipeline

    pipeline = Pipeline.from_pretrained("fashion")
    return paced(lambda i: len(pipeline("bag", seeds=range(4 * i, 4 * i + 4))))


def training() -> float:
    """Also what each rank of torchrun does."""
    from dataclasses import replace

    import torch

    from bitmosaic.codes import Codes
    from bitmosaic.recipes import fashion
    from bitmosaic.threads import share_processors
    from bitmosaic.train.loop import State, play
    from bitmosaic.train.prior_game import PriorGame
    from bitmosaic.train.processes import process_group, world_size

    share_processors()
    run, rng = fashion(), torch.Generator().manual_seed(0)
    digits = torch.randint(0, 2, (64, 7, 7, 20), generator=rng).byte()
    codes = SimpleNamespace(codes=Codes(digits, (2,) * 20), labels=torch.arange(64) % 10, captions=None)
    with process_group("cpu"):
        settings = replace(run.prior_training, steps=100_000, parts=world_size())
        game = PriorGame(run.prior.build())
        walk = play(State.start(game, settings), lambda step: codes, settings)
        steps = 12  # as many in each rank, since they wait for each other
        next(walk)
        start = time.perf_counter()
        for _ in range(steps):
            next(walk)
        return 64 * steps / (time.perf_counter() - start)


def studio() -> float:
    """Images a second that a studio in a process of its own draws for one client."""
    import urllib.request

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fuzz"))  # where load tests of the studio lie
    from studio_started import Server

    with Server() as server:
        def ask(i: int) -> int:
            body = json.dumps({"class": "bag", "seed": i, "count": 4}).encode()
            request = urllib.request.Request(f"http://{server.host}:{server.port}/v1/generate", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=120) as answer:
                return len(json.load(answer)["images"])

        return paced(ask)


WORK = {"sampling": sampling, "training": training, "studio": studio, "torchrun": training}


def measured(work: str, way: str) -> float:
    """Images a second of one kind of work in a process of its own; 0 where it takes more than four minutes."""
    words = [sys.executable, __file__, "--work", work]
    told = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))} | WAYS[way]
    if work == "torchrun":
        words[1:1] = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
        told["OMP_NUM_THREADS"] = "2"
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=told, timeout=240)
    except subprocess.TimeoutExpired:
        return 0.0
    return float(done.stdout.split()[-1]) if done.returncode == 0 else 0.0  # such as a studio that answers 504


def main() -> None:
    """Measures each kind of work beside each number of busy processes, in turns, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=list(WORK), help="do this work in this process, and print images a second")
    parser.add_argument("--others", type=int, nargs="+", default=[0, 2], help="how many busy processes run beside")
    parser.add_argument("--only", nargs="+", choices=list(WORK), default=list(WORK))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.work:
        print(WORK[options.work](), flush=True)
        return
    print(f"| images a second | busy processes beside | {' | '.join(WAYS)} | ours / spin | ours / passive |\n|{'---|' * (4 + len(WAYS))}")
    rows = []
    for others in options.others:
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
        try:
            for work in options.only:
                speeds = {way: [] for way in WAYS}
                for _ in range(options.repeats):
                    for way in WAYS:
                        speeds[way].append(measured(work, way))
                ours, spin, passive = (statistics.median(speeds[way]) for way in WAYS)
                shown = " | ".join(f"{statistics.median(speeds[way]):.2f}" for way in WAYS)
                print(f"| {work} | {others} | {shown} | {ours / spin if spin else float('inf'):.2f} | {ours / passive:.2f} |", flush=True)
                rows.append({"work": work, "others": others, "images_per_second": speeds})
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    if options.json:
        options.json.write_text(json.dumps({"processors": os.cpu_count(), "seconds": SECONDS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
