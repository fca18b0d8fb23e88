"""Several `index` commands at once, and killed ones: the index in the end is that of one undisturbed command."""

import functools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import warm
from filelock import FileLock
from test_search import photos

from bitmosaic.cli import main
from bitmosaic.search import Index

__all__ = ["photos"]


def command(*arguments, said=subprocess.PIPE):
    line = [sys.executable, "-m", "bitmosaic", *map(str, arguments)]
    return warm.Child(line, stdout=said, stderr=said)


@pytest.mark.slow
def test_two_at_once_make_one_index(photos, tmp_path):
    out = tmp_path / "index"
    both = [command("index", photos, out) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("0 new" in text for text, _ in said) == [False, True]
    found = Index.open(out)
    assert len(found) == 12 and sum(map(bool, found.names())) == 12
    for i in range(6):
        (photos / f"{i}.png").unlink()
    both = [command("index", photos, out, "--prune") for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0] and sum("6 removed" in text for text, _ in said) == 1, said
    assert len(Index.open(out)) == 6


def test_who_waits_says_so_and_goes_on(photos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "index"
    out.mkdir()
    lock = FileLock(out / "index.lock")
    lock.acquire()
    monkeypatch.setattr("bitmosaic.commands.index.tell", lambda line: (print(line), lock.release()) if "another process" in line else None)
    assert main(["index", str(photos), str(out)]) == 0
    assert "another process" in capsys.readouterr().out and len(Index.open(out)) == 12


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    """Killed again and again in the middle, the index of the test images is in the end as one that was built at one go."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    index = functools.partial(command, "index", "fashion-mnist", said=subprocess.DEVNULL)
    assert index(whole).wait(600) == 0
    for more in (1, 2, 0, 3, 3):  # chunks that it may finish
        process, wanted = index(parts), len([*parts.glob("chunks/*")]) + more
        while process.poll() is None and len([*parts.glob("chunks/*.safetensors")]) < wanted:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert index(parts).wait(600) == 0
    one, other = Index.open(whole), Index.open(parts)
    assert len(one) == len(other) == 10_000 and not [*parts.rglob("*.new")]
    ids = np.array([one.present()[name] for name in sorted(one.present())])
    others = np.array([other.present()[name] for name in sorted(other.present())])
    assert np.array_equal(one.vectors(ids), other.vectors(others))
