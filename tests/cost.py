"""Processor time of tests: one that takes more than `LIMIT` seconds fails, so that the suite stays one that is run after each change.

Time is that of the process and of its children that have ended, in seconds of the machine on which the limit was chosen: where a fixed
piece of work takes longer so may a test, and where more processes want to run than there are processors, since these empty each other's
caches: with nine times as many a test of 4 s took 13. A test marked `slow` has no limit. A folder of tests/systems/ may take `FOLDER`
seconds in all. `--cost FILE` writes what each test took here, dearest first.
"""

import os
import statistics
import time
from collections import Counter
from pathlib import PurePosixPath

import pytest
import torch
import warm

LIMIT, FOLDER = 5.0, 12.0
TOLERANCE = 2.0  # a test fails at so many limits: processor time on machines that others share is no constant
WORK = {"python": 0.0140, "torch": 0.0130}  # seconds that `work` took where the limits were chosen, with nothing beside it


def work() -> dict[str, float]:
    """Processor seconds that a fixed piece of Python and one of torch take here."""

    def python():
        sum(i * i % 7 for i in range(300_000))

    def convolutions():
        x = torch.ones(1, 16, 32, 32)
        with torch.no_grad():
            for _ in range(100):
                x = torch.nn.functional.conv2d(x, torch.full((16, 16, 3, 3), 1 / 144), padding=1)

    took = {}
    for name, piece in (("python", python), ("torch", convolutions)):
        start = time.process_time()
        piece()
        took[name] = time.process_time() - start
    return took


def slowness(times: int = 5) -> float:
    """How many times slower than there this machine is now: by the worse of the pieces, each at its median, and by how crowded it is."""
    found = [work() for _ in range(times)]
    pieces = [statistics.median(took[name] for took in found) / wanted for name, wanted in WORK.items()]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, *pieces) * max(1.0, load / (os.cpu_count() or 1))


def spent() -> float:
    """Seconds that this process and its children that have ended have been on a processor."""
    return sum(os.times()[:4]) + warm.seconds()


def folder_of(nodeid: str) -> str | None:
    """The system's folder under tests/systems/ that a test lies in."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    at = parts.index("systems") if "systems" in parts[:-2] else None
    return None if at is None else "/".join(parts[: at + 2])


class Cost:
    """Hooks of pytest. A worker measures, and the process that hears of all tests adds up and writes."""

    def __init__(self, path: str | None):
        self.path, self.rows, self.folders = path, [], Counter()
        self.slower = slowness()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        warm.load()  # else the first test that trains would pay seconds of importing for all
        start = spent()
        try:
            return (yield)
        finally:
            item.stash[SETUP] = spent() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        start = spent()
        try:
            result = yield
        finally:
            took = spent() - start
            item.user_properties.append(("cost", (took, item.stash[SETUP], self.slower, "slow" in item.keywords)))
        if took > LIMIT * self.slower and "slow" not in item.keywords:
            self.slower = max(self.slower, slowness())  # it may be busier than it was in the beginning
            limit = LIMIT * self.slower
            if took > TOLERANCE * limit:
                pytest.fail(f"{took:.1f} s of processor time, at most {limit:.1f} s here: make it smaller or mark it slow", pytrace=False)
        return result

    def pytest_runtest_logreport(self, report):
        for name, told in report.user_properties:
            if report.when == "call" and name == "cost":
                call, setup, slower, slow = told
                self.rows.append((call, setup, report.nodeid))
                if (folder := folder_of(report.nodeid)) and not slow:
                    self.folders[folder] += (call + setup) / slower

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if self.path:
            with open(self.path, "w") as file:
                file.writelines(f"{call:7.2f} {setup:7.2f} {name}\n" for call, setup, name in sorted(self.rows, reverse=True))
        if any(took > FOLDER for took in self.folders.values()) and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for folder, took in self.folders.items():
            if took > FOLDER:
                terminalreporter.write_line(f"{folder}: {took:.1f} s of processor time, of at most {FOLDER:.0f} s for a system", red=True)


SETUP = pytest.StashKey[float]()
