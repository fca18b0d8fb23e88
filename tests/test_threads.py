"""Threads: how torch's OpenMP waits on a busy machine and on an idle one, and what a container's quota makes of their number."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from bitmosaic import threads

SEEN = "print(*(name for name in ('bitmosaic-share',) if name in [t.name for t in threading.enumerate()]))"


def child(code: str, **environment: str) -> str:
    """What code prints in a process of its own, with none of OpenMP's variables but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**kept, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(root, texts: dict[str, str]):
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_children_of_tests_have_as_many_threads_as_tests():
    told = subprocess.check_output([sys.executable, "-c", "import torch; print(torch.get_num_threads())"])
    assert int(told) == torch.get_num_threads() == 1


def test_threads_sleep_after_much_waiting_and_spin_again_after_little():
    judge = threads.Judge()
    assert [judge.look(w) for w in (0.0, 0.9, 0.0, 0.9, 0.9, 0.2, 0.0)] == [False] * 4 + [True] * 3
    assert [judge.look(w) for w in (0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9)] == [True] * 5 + [False] * 2


def test_waiting_is_summed_over_all_threads_but_the_one_that_looks(tmp_path):
    own = threading.get_native_id()
    write(tmp_path, {"1/schedstat": "9 30 2\n", "2/schedstat": "9 12 2\n", f"{own}/schedstat": "9 1000 2\n"})
    (tmp_path / "3").mkdir()  # has ended
    assert threads.waited(tmp_path) == 42
    assert threads.waited(tmp_path / "none") is None and threads.waited(write(tmp_path, {"4/schedstat": "x"})) is None


@pytest.mark.skipif(threads.waited(threads.TASKS) is None, reason="this system does not tell how long threads wait")
@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "bitmosaic-share"), ({"OMP_WAIT_POLICY": "active"}, ""), ({"GOMP_SPINCOUNT": "7"}, ""), ({"OMP_NUM_THREADS": "1"}, "")],
)
def test_what_the_environment_says_is_kept(environment, expected):
    twice = "threads.share_processors(); threads.share_processors()"
    code = f"import threading; from bitmosaic import threads; threads.processors = lambda: 2; {twice}; {SEEN}"
    assert child(code, **environment) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP is looked for in /proc")
def test_a_team_of_sleeping_threads_comes_and_goes_and_changes_no_result():
    code = """if True:
        import os, torch
        from bitmosaic import threads
        count = lambda: len(os.listdir("/proc/self/task"))
        x = torch.rand(300, 300)
        a, before = x @ x, count()
        team = threads.SleepingTeam()
        team.start()
        while count() < before + 1 + threads.processors() * len(threads._runtimes()): pass
        b = x @ x
        team.end()
        while count() > before: pass
        print(torch.equal(a, b), len(threads._runtimes()))
    """
    equal, runtimes = child(code).split()
    assert equal == "True"
    assert int(runtimes) >= 1 or "libgomp" not in torch.__config__.parallel_info()


V2 = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "4:memory:/\n2:cpu,cpuacct:/a\n0::/\n"}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, []),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, []),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, [1.5]),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, [0.5]),
        ({**V2, "sys/fs/cgroup/cpu.max": "300000 100000\n"}, [3]),  # a container that sees its own group as the root
        ({**V1, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, []),
        ({**V1, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, [4]),
        ({**V2, "sys/fs/cgroup/a/b/cpu.max": "nonsense"}, []),
    ],
)
def test_quotas_of_both_versions_of_control_groups(tmp_path, texts, expected):
    assert threads._quotas(write(tmp_path, texts)) == expected


def test_a_quota_below_the_affinity_mask_becomes_the_number_of_threads(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "processors", lambda: 64)
    for quotas, said, expected in (([1.5, 8], None, "2"), ([], None, None), ([100], None, None), ([1.5], "4", "4")):
        monkeypatch.setattr(threads, "_quotas", lambda root, quotas=quotas: quotas)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        threads.limit()
        assert os.environ.get("OMP_NUM_THREADS") == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_one_processor_of_the_mask_is_one_thread():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import bitmosaic, torch; print(torch.get_num_threads())"
    assert child(code) == "1"
