"""Warm child processes are as those of subprocess: what they print, how they end, what they find; the ranks of torchrun; their time."""

import signal
import subprocess
import sys

import pytest
import warm


def test_what_it_prints_how_it_ends_and_what_it_finds(tmp_path):
    code = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A']); print('no', file=sys.stderr); sys.exit(3)"
    done = warm.run([sys.executable, "-c", code, "b"], cwd=tmp_path, env={"A": "a"})
    assert (done.returncode, done.stdout, done.stderr) == (3, f"['-c', 'b'] {tmp_path} a\n", "no\n")
    (tmp_path / "own.py").write_text("import sys\nif __name__ == '__main__':\n    sys.exit(f'{sys.argv[1:]}')\n")
    assert warm.run([sys.executable, str(tmp_path / "own.py"), "c"]).stderr == "['c']\n"
    done = warm.run([sys.executable, "-m", "bitmosaic", "--version"])
    assert done.returncode == 0 and done.stdout.startswith("bitmosaic ")


@pytest.mark.parametrize("code, status", [("1 / 0", 1), ("import os; os.abort()", -signal.SIGABRT), ("import sys; sys.exit()", 0)])
def test_how_it_fails(code, status):
    done = warm.run([sys.executable, "-c", code])
    assert done.returncode == status and ("ZeroDivisionError" in done.stderr) == (status == 1)


def test_a_process_is_signalled_and_one_after_another_is_not_mixed_up():
    code = "import time; print(1, flush=True); time.sleep(60)"
    both = [warm.Child([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    for process, how in zip(both, (signal.SIGINT, signal.SIGKILL), strict=True):
        assert process.stdout.readline() == "1\n" and process.poll() is None
        process.send_signal(how)
        with process:
            assert process.wait(20) == -how


def test_ranks_of_one_node_and_their_time():
    code = (
        "import torch, torch.distributed as d; d.init_process_group('gloo'); x = torch.ones(1); d.all_reduce(x); print(int(x))\n"
        "d.destroy_process_group()"
    )
    before = warm.seconds()
    done = warm.torchrun(2, [sys.executable, "-c", code])
    assert done.returncode == 0 and done.stdout.count("2") == 2, done.stderr  # their lines may run into each other
    assert 0 < warm.seconds() - before < 20
    code = "import os, sys, time; sys.exit(4) if os.environ['RANK'] == '1' else time.sleep(60)"
    assert warm.torchrun(2, [sys.executable, "-c", code]).returncode == 4
