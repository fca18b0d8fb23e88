"""How torch's OpenMP shares the machine: no more threads than a container's quota, and no spinning beside other busy processes.

GNU's OpenMP spins at a barrier for some 15 ms before it sleeps. That is right on an idle machine, where sleeping at once would halve the
speed of a small model. Beside other busy processes a spinning thread holds the core that the thread it waits for needs, and drawing becomes
10 to 100 times slower (docs/performance.md). The runtime reads its setting once, when it is loaded, but it also sleeps almost at once while
it manages more threads than there are processors (GCC's manual, GOMP_SPINCOUNT). So a watching thread measures how long the others wait
for a processor, and keeps a second, sleeping team of threads while they wait long.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

INTERVAL = 0.2  # seconds between two looks
MUCH, LITTLE = 0.25, 0.1  # of the time spent waiting for a processor, summed over threads: 0.4 to 1 beside two busy loops
CALM = 5  # consecutive looks with little waiting after which threads may spin again
CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # variables by which users choose how threads wait
COUNTED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
TASKS = Path("/proc/self/task")
_started = None  # the process that has a watching thread


def limit() -> None:
    """Sets OMP_NUM_THREADS to the CPU quota of this process's control groups, where that is below the affinity mask, which OpenMP reads.

    Leaves a value that is set already; without effect once torch is loaded.
    """
    affinity, quotas = processors(), _quotas(Path("/"))
    if "torch" not in sys.modules and quotas and math.ceil(min(quotas)) < affinity and not any(name in os.environ for name in COUNTED):
        os.environ["OMP_NUM_THREADS"] = str(math.ceil(min(quotas)))


def share_processors() -> None:
    """From now on OpenMP's threads sleep at barriers while threads of this process wait for a processor, and spin otherwise.

    Once for each process, from any thread, before or after torch is loaded. Does nothing where the environment sets how threads wait,
    where there is one processor or thread, or where the system does not report how long threads wait (all but Linux).
    """
    global _started
    alone = processors() == 1 or os.environ.get("OMP_NUM_THREADS") == "1"
    if _started == os.getpid() or alone or any(name in os.environ for name in CHOSEN) or waited(TASKS) is None:
        return
    _started = os.getpid()
    threading.Thread(target=_watch, name="bitmosaic-share", daemon=True).start()


def waited(tasks: Path) -> int | None:
    """Nanoseconds for which this process's threads, without the calling one, have waited for a processor; None where unknown."""
    total, own = 0, str(threading.get_native_id())
    try:
        for name in os.listdir(tasks):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                total += int((tasks / name / "schedstat").read_text().split()[1]) if name != own else 0
    except (OSError, ValueError, IndexError):
        return None
    return total


class Judge:
    """Whether threads should sleep: after two looks in a row with much waiting, until `CALM` looks in a row with little."""

    def __init__(self):
        self.sleep, self._row = False, 0

    def look(self, waiting: float) -> bool:
        """The decision after one more look. waiting: seconds of waiting per second, summed over threads."""
        counts = waiting < LITTLE if self.sleep else waiting > MUCH
        self._row = self._row + 1 if counts else 0
        if self._row >= (CALM if self.sleep else 2):
            self.sleep, self._row = not self.sleep, 0
        return self.sleep


class SleepingTeam(threading.Thread):
    """A thread that holds a team of OpenMP threads, as many as there are processors and one more, which do nothing, until `end`."""

    def __init__(self):
        super().__init__(name="bitmosaic-team", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)  # a C function without effect, for each thread to call
        for runtime in _runtimes():
            runtime.GOMP_parallel(nothing, None, ctypes.c_uint(processors() + 1), ctypes.c_uint(0))
        self._end.wait()

    def end(self) -> None:
        """Ends the thread, and with it the team."""
        self._end.set()
        self.join()


def _watch() -> None:
    judge, team = Judge(), None
    before, then = waited(TASKS), time.monotonic()
    while True:
        time.sleep(INTERVAL)
        now, when = waited(TASKS), time.monotonic()
        if now is None or before is None:
            return
        sleep = judge.look((now - before) / 1e9 / (when - then))
        before, then = now, when
        if sleep and team is None:
            team = SleepingTeam()
            team.start()
        elif team is not None and not sleep:
            team.end()
            team = None


def _runtimes() -> list[ctypes.CDLL]:
    """GNU's OpenMP runtimes that are loaded: torch's, and those that faiss and scikit-learn bring."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [ctypes.CDLL(path) for path in sorted({line.split(maxsplit=5)[5] for line in lines if "/libgomp" in line})]


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> list[float]:
    """CPU quotas, in processors, of this process's control groups and their parents; cgroup versions 1 and 2."""
    with suppress(OSError, ValueError):
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        return [quota for number, kinds, path in groups for quota in _above(root, number, kinds, PurePosixPath(path))]
    return []


def _above(root: Path, number: str, kinds: str, path: PurePosixPath) -> list[float]:
    if number == "0":
        tree, names = root / "sys/fs/cgroup", ("cpu.max",)
    elif "cpu" in kinds.split(","):
        tree, names = root / "sys/fs/cgroup/cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    else:
        return []
    found = []
    for group in (path, *path.parents):  # inside a container the mounted tree may begin at the group itself: the root is looked at too
        with suppress(OSError, ValueError):
            quota, period = " ".join((tree / str(group).lstrip("/") / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):  # no limit
                found.append(int(quota) / int(period))
    return found
