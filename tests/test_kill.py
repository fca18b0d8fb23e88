"""A training run killed with -9 at any moment ends, by the same command again, bitwise where it would have ended.

Weights, optimizers and averages by the last checkpoints, and metrics, wall times aside.
"""

import json
import signal
import sys
import time

import pytest
import torch
import warm
from safetensors.torch import load_file

from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.sealed import damage

MOMENTS = [
    "run.json", "tokenizer/checkpoints", "tokenizer/checkpoints/.step-00000004.new", "tokenizer/final", "codes.new", "codes",
    "prior/checkpoints", "prior/checkpoints/.step-00000004.new",
]  # fmt: skip
CLOCK = ("seconds", "images_per_second", "memory_gib")


def command(tmp_path, out):
    short = {"steps": 6, "batch-size": 4, "log-every": 2, "checkpoint-seconds": 0}
    words = [f"--{part}-training.{name}={value}" for part in ("tokenizer", "prior") for name, value in short.items()]
    more = ["--size=32", "--bits=4", "--tokenizer.width=8", "--tokenizer.embedding=8", "--sampler.steps=2", "--sampler.evaluations=2"]
    return [sys.executable, "-m", "bitmosaic", "train", "folder", "--data", str(tmp_path / "data"), "--out", str(out), *words, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    sample = fashion_sample()
    for i in range(12):
        place = folder / "data" / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        to_pil(sample.image(i)).save(place / f"{i}.png")
    warm.run(command(folder, folder / "whole"), timeout=300).check_returncode()
    return folder


def learned(out):
    """What the last checkpoints hold, by their checksums, and the metrics."""
    found = []
    for part in ("tokenizer", "prior"):
        last = checkpoints(out / part / "checkpoints")[-1]
        assert not damage(last)
        rows = [json.loads(line) for line in (out / part / "metrics.jsonl").read_text().splitlines()]
        state = json.loads((last / "checksums.json").read_text())["__0_0.distcp"]
        found.append((last.name, state, [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_killed_and_started_again(data, moment, delay):
    out = data / f"{moment.replace('/', '-')}-{delay}"
    process = warm.Child(command(data, out))
    while process.poll() is None and not (out / moment).exists():
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = warm.run(command(data, out), timeout=300)
    assert again.returncode == 0, again.stderr
    assert learned(data / "whole") == learned(out)
    for part in ("tokenizer", "prior"):
        one, other = (load_file(run / "pipeline" / part / "model.safetensors") for run in (data / "whole", out))
        assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())
