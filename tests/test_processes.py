"""A batch in parts: one process that takes them in turn and several that share them walk the same road."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import warm
from safetensors.torch import load_file

from bitmosaic.images import ArrayImages, Batches, fashion_sample, to_pil
from bitmosaic.nets.patchgan import PatchGANSpec
from bitmosaic.tokenizers.binary_autoencoder import BinaryAutoencoderSpec
from bitmosaic.train.loop import State, play, step_generator
from bitmosaic.train.tokenizer_game import TokenizerGame, TokenizerLosses
from bitmosaic.train.training import Training

TRAINING = Training(steps=3, batch_size=8, learning_rate=1e-3, clip_norm=0.0)
CLOSE = 2e-4  # of weights after some steps, in float32: sums are taken in another order, and Adam divides by small numbers


def game():
    torch.manual_seed(0)
    losses = TokenizerLosses(discriminator=PatchGANSpec(), adversarial_start=0, diffaugment=False)
    return TokenizerGame(BinaryAutoencoderSpec().build(), losses)


def images(n=16):
    pixels = torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ArrayImages(pixels, torch.arange(n) % 2)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_step_moves_by_the_mean_gradient_of_its_parts(parts):
    """Each part with its own draws, and each from the running means that the step began with."""
    training = replace(TRAINING, parts=parts, steps=1)
    batches = Batches(images(), training.part_size, 0)
    held = game()
    wanted = 0
    for i in range(parts):
        part = game()
        turn = next(part.play(batches(i), 0, step_generator(0, 0, "cpu", i)))
        turn.loss.backward()
        wanted = wanted + torch.cat([p.grad.flatten() for p in part.players["tokenizer"].parameters()]) / parts
    state = State.start(held, training)
    (progress,) = play(state, batches, training)
    found = torch.cat([p.grad.flatten() for p in held.players["tokenizer"].parameters()])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert float(progress.metrics["tokenizer_gradient"]) == pytest.approx(float(wanted.norm()), rel=1e-4)


def test_running_means_are_the_mean_of_those_of_the_parts():
    """Of parts that each begin from the same; no move comes before the last forward pass of the discriminator."""
    training, held = replace(TRAINING, parts=2, steps=1), game()
    batches, alone = Batches(images(), training.part_size, 0), []
    for i in range(2):
        part = game()
        list(part.play(batches(i), 0, step_generator(0, 0, "cpu", i)))
        alone.append(dict(part.players["discriminator"].named_buffers()))
    list(play(State.start(held, training), batches, training))
    found = dict(held.players["discriminator"].named_buffers())
    assert any(name.endswith("running_mean") for name in found)
    for name, buffer in found.items():
        wanted = (alone[0][name] + alone[1][name]) / 2
        torch.testing.assert_close(buffer.double(), wanted.double(), rtol=1e-4, atol=1e-5)


def test_parts_must_fit_the_batch():
    with pytest.raises(ValueError, match="batch of 8 cannot be cut"):
        replace(TRAINING, parts=3)


# ---- processes


TORCHRUN = ["-m", "torch.distributed.run", "--standalone"]


def command(folder, out, parts, processes=1, more=(), sharded=False, steps=6):
    short = {"steps": steps, "batch-size": 4, "parts": parts, "log-every": steps // 3, "checkpoint-seconds": 0 if steps == 6 else 1000}
    words = [f"--{part}-training.{name}={value}" for part in ("tokenizer", "prior") for name, value in short.items()]
    words += ["--size=32", "--bits=4", "--tokenizer.width=8", "--tokenizer.embedding=8", "--sampler.steps=2", "--sampler.evaluations=2"]
    words += ["--prior.depth=2", "--prior.width=32", "--prior.heads=2", "--prior.head.width=32", "--prior.head.depth=1"]
    words += ["--prior-training.sharded"] * sharded
    launch = [*TORCHRUN, f"--nproc-per-node={processes}", *more] if processes > 1 else []
    return [sys.executable, *launch, "-m", "bitmosaic", "train", "folder", "--data", str(folder), "--out", str(out), *words]


def run(words):
    return warm.run(words, timeout=600)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "data"
    sample = fashion_sample()
    for i in range(12):
        place = folder / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        to_pil(sample.image(i)).save(place / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    done = run(command(data, out, 4))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def shorter(data, tmp_path_factory):
    """Of three steps, without checkpoints in between."""
    out = tmp_path_factory.mktemp("shorter") / "run"
    done = run(command(data, out, 4, steps=3))
    assert done.returncode == 0, done.stderr
    return out


def same_road(one, other):
    for part in ("tokenizer", "prior"):
        a, b = (load_file(out / "pipeline" / part / "model.safetensors") for out in (one, other))
        assert a.keys() == b.keys() and max(float((a[k].float() - b[k].float()).abs().max()) for k in a) < CLOSE
        rows = [[json.loads(line) for line in (out / part / "metrics.jsonl").read_text().splitlines()] for out in (one, other)]
        assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]] and len(rows[0]) == 3
        for x, y in zip(*rows, strict=True):
            for name in {"loss", "tokenizer_gradient", "prior_gradient"} & x.keys():
                assert x[name] == pytest.approx(y[name], rel=1e-3), name


def walked(done, alone, out, processes):
    assert done.returncode == 0, done.stderr
    same_road(alone, out)
    event = json.loads((out / "prior" / "events.jsonl").read_text().splitlines()[0])
    assert event["event"] == "started" and event["processes"] == processes


@pytest.mark.parametrize("sharded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_several_processes_walk_the_road_of_one(data, shorter, tmp_path, sharded):
    done = warm.torchrun(2, command(data, tmp_path / "run", 4, sharded=sharded, steps=3))
    walked(done, shorter, tmp_path / "run", 2)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("processes", [2, 4])
def test_what_torchrun_starts_walks_the_road_of_one(data, alone, tmp_path, processes, sharded):
    done = run(command(data, tmp_path / "run", 4, processes, sharded=sharded))
    walked(done, alone, tmp_path / "run", processes)


DYING = """
import os, sys, bitmosaic.train.loop as loop
from bitmosaic.cli import main
move, count = loop._move, [0]
def once(*a):
    count[0] += 1
    if count[0] == %d and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os._exit(7)
    return move(*a)
loop._move = once
sys.exit(main(sys.argv[1:]))
"""


def dies(words, path, move):
    """The command with a second process that dies at its so many-th move."""
    path.write_text(DYING % move)
    at = words.index("bitmosaic") - 1
    return [*words[:at], str(path), *words[at + 2 :]]


@pytest.mark.slow
def test_torchrun_starts_a_job_again_when_a_process_dies(data, alone, tmp_path):
    done = run(dies(command(data, tmp_path / "run", 4, 2, ["--max-restarts=1"]), tmp_path / "dying.py", 5))
    assert done.returncode == 0, done.stderr
    assert "exitcode: 7" in done.stderr
    same_road(alone, tmp_path / "run")
    kinds = [json.loads(line)["event"] for line in (tmp_path / "run" / "tokenizer" / "events.jsonl").read_text().splitlines()]
    assert kinds == ["started", "resumed"]


LINGERING = """
import pathlib, sys, time, bitmosaic.train.loop as loop
from bitmosaic.cli import main
move, count = loop._move, [0]
def once(*a):
    count[0] += 1
    if count[0] == %d:
        pathlib.Path(%r).touch()
        time.sleep(3)
    return move(*a)
loop._move = once
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_sigterm_to_torchrun_saves_and_leaves_and_the_same_command_goes_on(data, alone, tmp_path, sharded):
    words, script, there = command(data, tmp_path / "run", 4, 2, sharded=sharded), tmp_path / "lingering.py", tmp_path / "there"
    script.write_text(LINGERING % (6 + 3, str(there)))  # in the third step of the prior
    at = words.index("bitmosaic") - 1
    torchrun = subprocess.Popen(
        [*words[:at], str(script), *words[at + 2 :]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    end = time.monotonic() + 300
    while not there.exists() and torchrun.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    torchrun.send_signal(signal.SIGTERM)
    said, _ = torchrun.communicate(timeout=100)
    assert torchrun.returncode and "told to end" in said, said
    assert not (tmp_path / "run" / "pipeline").exists() and (tmp_path / "run" / "prior" / "checkpoints" / "step-00000003").is_dir()
    done = run(words)
    assert done.returncode == 0, done.stderr
    same_road(alone, tmp_path / "run")
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "prior" / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "stopped", "resumed"]


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("later", [1, 4])
def test_a_run_goes_on_with_another_number_of_processes(data, alone, tmp_path, sharded, later):
    done = run(dies(command(data, tmp_path / "run", 4, 2, sharded=sharded), tmp_path / "dying.py", 6 + 5))  # in the prior
    assert done.returncode and "exitcode: 7" in done.stderr.replace("  ", " ").replace(" :", ":")
    assert not (tmp_path / "run" / "pipeline").exists() and (tmp_path / "run" / "prior" / "checkpoints" / "step-00000004").is_dir()
    done = run(command(data, tmp_path / "run", 4, later, sharded=sharded))
    assert done.returncode == 0, done.stderr
    same_road(alone, tmp_path / "run")


def test_a_number_of_processes_that_cannot_share_is_told(data, tmp_path):
    done = warm.torchrun(3, command(data, tmp_path / "other", 4))
    assert done.returncode and "3 processes cannot share 4 parts" in done.stderr
