"""One training at a time in a folder: the second is refused, a dead one's lock holds nobody up, what it left half written goes."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import warm

import bitmosaic.train.alone as alone_module
from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, to_pil
from bitmosaic.train.alone import LOCK, alone
from bitmosaic.train.checkpoint import checkpoints

TINY = ["--size=32", "--bits=4", "--tokenizer.width=8", "--tokenizer.embedding=8", "--sampler.steps=2", "--sampler.evaluations=2"]


def command(folder, out, **more):
    short = {"steps": 6, "batch-size": 4, "log-every": 2, "checkpoint-seconds": 0, **more}
    words = [f"--{part}-training.{name}={value}" for part in ("tokenizer", "prior") for name, value in short.items()]
    return ["train", "folder", "--data", str(folder), "--out", str(out), *words, *TINY]


def started(words, launch=()):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *launch, "-m", "bitmosaic", *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)


@pytest.fixture
def data(tmp_path):
    sample = fashion_sample()
    (tmp_path / "data").mkdir()
    for i in range(8):
        to_pil(sample.image(i)).save(tmp_path / "data" / f"{i}.png")
    return tmp_path / "data"


def runs(process):
    found = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True).stdout
    return found.strip() and not found.startswith("Z")


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_while_a_training_goes_on_another_is_refused(data, tmp_path, capsys):
    with alone(tmp_path / "run"):
        assert main(command(data, tmp_path / "run")) == 2
        assert f"a training is going on in {tmp_path / 'run'}; wait for it" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


@pytest.mark.slow
def test_the_second_training_is_refused_and_the_first_ends_well(data, tmp_path, capsys):
    first = started(command(data, tmp_path / "run", steps=60))
    try:
        until(lambda: checkpoints(tmp_path / "run" / "tokenizer" / "checkpoints"))
        assert main(command(data, tmp_path / "run", steps=60)) == 2
        assert f"a training is going on in {tmp_path / 'run'}" in capsys.readouterr().err
        out, err = first.communicate(timeout=300)
    finally:
        first.kill()
    assert first.returncode == 0, err
    assert (tmp_path / "run" / "pipeline" / "config.json").is_file()


def test_a_lock_is_free_when_its_process_was_killed(tmp_path):
    program = "import sys, time\nfrom pathlib import Path\nfrom bitmosaic.train.alone import alone\n"
    program += "with alone(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    first = warm.Child([sys.executable, "-c", program, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert first.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="a training is going on in"), alone(tmp_path / "run"):
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with alone(tmp_path / "run"), pytest.raises(ValueError, match="going on"), alone(tmp_path / "run"):
        pass


def test_a_folder_in_which_nothing_began_does_not_stay(tmp_path):
    with pytest.raises(ValueError, match="mine"), alone(tmp_path / "a" / "b"):
        raise ValueError("mine")
    assert not (tmp_path / "a").exists()
    (tmp_path / "kept").mkdir()
    with alone(tmp_path / "kept"):
        (tmp_path / "kept" / "run.json").touch()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [LOCK, "run.json"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_locks_has_a_file_for_one(tmp_path, monkeypatch, number):
    class Without(alone_module.FileLock):
        def _acquire(self):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(alone_module, "FileLock", Without)
    monkeypatch.setattr(alone_module, "WAIT", 0.1)
    with alone(tmp_path / "run"):
        with pytest.raises(ValueError, match=r"going on .* if none is, remove .*\.lock\.soft"), alone(tmp_path / "run"):
            pass
    with alone(tmp_path / "run"):
        pass


def test_what_was_half_written_goes_and_nothing_else(tmp_path):
    out = tmp_path / "run"
    gone = [
        ".pipeline.0a1b2c3d.new/prior/model.safetensors", ".pipeline.ffffffff.old/x", "codes.new/codes.npy", ".run.json.00000000.new",
        "tokenizer/.final.12345678.new/config.json", "prior/pictures/.0123456789abcdef0123456789abcdef.tmp", "prior/metrics.jsonl.new",
        ".images.npz.12345678.new", ".0123456789abcdef0123456789abcdef.tmp", "features.safetensors.new",
    ]  # fmt: skip
    stay = ["run.json", ".notes", ".mine.new", "mine.new", "pipeline/config.json", "codes/codes.npy", "prior/metrics.jsonl", ".git/x.new",
            "tokenizer/checkpoints/.step-00000002.new/x"]  # fmt: skip
    for name in (*gone, *stay):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    with alone(out):
        assert not [name for name in gone if (out / name).exists()] and all((out / name).exists() for name in stay)
    assert not list(out.glob(".pipeline*")) and not (out / "codes.new").exists()


# ---- torchrun

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.slow
def test_torchrun_has_one_lock_and_speaks_once(data, tmp_path):
    words = command(data, tmp_path / "run", steps=2)
    with alone(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
        refused = started(words, TORCHRUN)
        err = refused.communicate(timeout=300)[1]
        assert refused.returncode and err.count("a training is going on in") == 1 and "bitmosaic: error" in err, err
    (tmp_path / "run" / "run.json").unlink()
    done = started(words, TORCHRUN)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert out.count("chosen: 8 images, no classes") == 1 and out.count("pipeline:") == 2, "the first alone says what was chosen and made"


@pytest.mark.slow
def test_workers_that_outlive_torchrun_end(data, tmp_path):
    out = tmp_path / "run"
    agent = started(command(data, out, steps=5000), TORCHRUN)
    until(lambda: checkpoints(out / "tokenizer" / "checkpoints"))
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(agent.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 2
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    until(lambda: not any(runs(child) for child in children), 20)
    held = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    time.sleep(1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == held
    agent.stdout.close()
    agent.stderr.close()
    with alone(out):
        pass
    shutil.rmtree(out)


@pytest.mark.slow
def test_a_lone_process_outlives_who_started_it(data, tmp_path):
    """As with nohup: only what torchrun has started hangs on it."""
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'bitmosaic', *sys.argv[1:]])"
    words = command(data, tmp_path / "run", steps=4)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, *words], check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: (tmp_path / "run" / "pipeline").exists())
