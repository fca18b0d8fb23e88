"""The limit of processor time: what takes too long fails, what is slow may, and a system's folder has one of its own."""

import subprocess
import sys
from pathlib import Path

import cost

CONFTEST = """
import cost
cost.LIMIT, cost.TOLERANCE, cost.FOLDER, cost.slowness = 0.1, 1.0, 0.2, lambda times=5: 1.0
def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long")
    config.pluginmanager.register(cost.Cost(config.getoption("--cost")), "cost")
def pytest_addoption(parser):
    parser.addoption("--cost")
"""
BUSY = """
import time, pytest
def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


def tried(folder, tests):
    """What pytest says of some files under the limits above."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")  # temporary folders may lie in a checkout, whose settings leave slow tests out
    for name, text in tests.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(BUSY + text)
    here = str(Path(cost.__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(folder), "--cost", str(folder / "cost.txt"), str(folder)]
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)  # a fork has ours loaded


def test_what_takes_too_long_fails_unless_it_is_slow(tmp_path):
    done = tried(tmp_path, {
        "test_a.py": "def test_quick(): pass\ndef test_long(): busy(0.3)\n@pytest.mark.slow\ndef test_slow(): busy(0.3)\n",
    })  # fmt: skip
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout and "make it smaller or mark it slow" in done.stdout, done.stdout
    rows = [line.split() for line in (tmp_path / "cost.txt").read_text().splitlines()]
    assert {row[2].partition("::")[2] for row in rows[:2]} == {"test_long", "test_slow"} and float(rows[0][0]) >= 0.25 > float(rows[2][0])


def test_a_folder_of_a_system_may_not_take_more(tmp_path):
    short = "\n".join(f"def test_{i}(): busy(0.03)" for i in range(10))
    done = tried(tmp_path, {"systems/one/test_one.py": short, "systems/two/test_two.py": "def test_2(): pass\n", "test_b.py": short})
    assert done.returncode == 1 and "21 passed" in done.stdout, done.stdout
    assert "systems/one: " in done.stdout and "systems/two: " not in done.stdout and "test_b" not in done.stdout


def test_which_folder():
    assert cost.folder_of("tests/systems/vq/test_a.py::test_b[c]") == "tests/systems/vq"
    assert cost.folder_of("systems/vq/deep/test_a.py::test_b") == "systems/vq"
    assert cost.folder_of("tests/test_systems.py::test_b[systems/x]") is None and cost.folder_of("tests/systems/test_a.py::t") is None


def test_this_machine_has_a_speed():
    assert cost.slowness(1) >= 1
