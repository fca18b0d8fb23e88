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
from media import sounds
from safetensors.torch import load_file

from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.train.checkpoint import checkpoints
from bitmosaic.train.sealed import damage

MOMENTS = [
    "run.json", "tokenizer/checkpoints", "tokenizer/checkpoints/.step-00000004.new", "tokenizer/final", "codes.new", "codes",
    "prior/checkpoints", "prior/checkpoints/.step-00000004.new",
]  # fmt: skip
MORE = {
    "folder": ["--size=32", "--bits=4", "--tokenizer.width=8", "--tokenizer.embedding=8", "--sampler.steps=2", "--sampler.evaluations=2"],
    "sound": [
        "--seconds=0.064", "--rate=2000", "--channels=2", "--codewords=16", "--tokenizer.width=8", "--tokenizer.quantizer.width=4",
        "--prior.width=16", "--prior.heads=2", "--prior.inner=32", "--prior.depth=3", "--sampler.steps=2",
    ],
}  # fmt: skip
CLOCK = ("seconds", "images_per_second", "memory_gib")


def command(tmp_path, out, recipe="folder"):
    short = {"steps": 6, "batch-size": 4, "log-every": 2, "checkpoint-seconds": 0}
    words = [f"--{part}-training.{name}={value}" for part in ("tokenizer", "prior") for name, value in short.items()]
    more = MORE[recipe]
    return [sys.executable, "-m", "bitmosaic", "train", recipe, "--data", str(tmp_path / "data"), "--out", str(out), *words, *more]


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


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill-sound")
    sounds(folder / "data", each=6, samples=128)
    warm.run(command(folder, folder / "whole", "sound"), timeout=300).check_returncode()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_killed_and_started_again(data, moment, delay):
    check_goes_on(data, data / f"{moment.replace('/', '-')}-{delay}", moment, delay)


@pytest.mark.parametrize("moment", [
    "prior/checkpoints/.step-00000004.new", *(pytest.param(moment, marks=pytest.mark.slow) for moment in MOMENTS[:-1])
])  # fmt: skip
def test_a_training_on_sound_is_killed_and_started_again(heard, moment):
    check_goes_on(heard, heard / moment.replace("/", "-"), moment, 0.0, "sound")


def check_goes_on(data, out, moment, delay, recipe="folder"):
    """Kills a training when `moment` is on disk, and `delay` seconds after; the same command again makes what one without a break made."""
    process = warm.Child(command(data, out, recipe))
    while process.poll() is None and not (out / moment).exists():
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = warm.run(command(data, out, recipe), timeout=300)
    assert again.returncode == 0, again.stderr
    assert learned(data / "whole") == learned(out)
    for part in ("tokenizer", "prior"):
        one, other = (load_file(run / "pipeline" / part / "model.safetensors") for run in (data / "whole", out))
        assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())
