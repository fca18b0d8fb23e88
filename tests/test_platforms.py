"""Other systems: what only Unix has is not counted on, as tried by taking it away from our modules; a Mac counts memory in bytes."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from lowest import PROJECT, pins

from bitmosaic import memory
from bitmosaic.images import fashion_sample, to_pil

HERE = Path(__file__).parent
SETTINGS = "--count 1 --steps 1 --evaluations 1"
TINY = (
    "--size 32 --bits 8 --tokenizer.width 8 --tokenizer.groups 4 --tokenizer.embedding 16 --tokenizer-training.batch-size 4 "
    "--tokenizer-training.steps 3 --tokenizer-training.checkpoint-seconds 0.01 --prior.depth 1 --prior.width 32 --prior.heads 2 "
    "--prior.head.width 32 --prior.head.depth 1 --prior-training.batch-size 4 --prior-training.steps 3 --sampler.steps 2 "
    "--sampler.evaluations 2 --prior-training.checkpoint-seconds 0.01"
)
LINES = [
    f"sample fashion --classes bag {SETTINGS} --out samples", f"train folder --data data --out run {TINY}", "report run --out page",
    "tokenize data codes", "tokenize data codes",
]  # fmt: skip
MORE = [
    "list", "info fashion", f"inpaint fashion:1 --box 0 0 14 14 {SETTINGS} --out i", "reconstruct --count 2 --out r",
    f"enrich fashion:0 --class bag --repeats 1 {SETTINGS} --out en", f"reveal --class bag {SETTINGS} --out rv", "bits fashion:0 --out b",
    "demo --count 1 --out d", "encode data --out c.safetensors", "decode c.safetensors --out dc", "compress data/a --out cc",
    "decompress cc --out dd", "index data idx", "index data idx", "search idx data/a/0.png --out s", "duplicates idx --out du",
    "plan fashion --images 60000", "evaluate fashion --count 50 --steps 1 --evaluations 1 --out e",
]  # fmt: skip


def script(*words: str, code: str = "", folder: Path | None = None) -> subprocess.CompletedProcess:
    """A command of ours, or code, where nothing of Unix is there."""
    package = Path(memory.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, (package, HERE)))}
    line = [sys.executable, *(["-c", "import elsewhere; elsewhere.take_away()\n" + code] if code else [str(HERE / "elsewhere.py"), *words])]
    return warm.run(line, cwd=folder, env=environment)


@pytest.fixture
def folder(tmp_path) -> Path:
    sample = fashion_sample()
    for i in range(8):
        (tmp_path / "data" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        to_pil(sample.image(i)).save(tmp_path / "data" / "ab"[i % 2] / f"{i}.png")
    return tmp_path


def run_all(lines: list[str], folder: Path) -> None:
    """One after the other, in one process."""
    done = script(code=f"from bitmosaic.cli import main\nfor line in {lines!r}:\n    assert main(line.split()) == 0, line\n", folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]


def test_commands_run_where_nothing_of_unix_is(folder):
    """Those that a missing module stopped, files that are written again, and a training that is resumed and reported."""
    run_all(LINES, folder)


@pytest.mark.slow
def test_all_other_commands_run_there_too(folder):
    run_all(MORE, folder)


def test_every_module_is_imported_there():
    """Also those that no command above needs."""
    done = script(code=(
        "import importlib, pkgutil, bitmosaic\n"
        "for module in pkgutil.walk_packages(bitmosaic.__path__, 'bitmosaic.'):\n"
        "    if not module.name.endswith('__main__'):\n        importlib.import_module(module.name)\n"
    ))  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_is_taken_away_is_gone():
    """The tests above would pass if nothing were."""
    done = script(code=(
        "code = '''import os, signal, time\ntry:\n    import resource\n    print(1)\nexcept ImportError:\n    print(2)\n"
        "print(hasattr(os, \"fork\"), hasattr(os, \"getpid\"), hasattr(signal, \"SIGKILL\"), hasattr(signal, \"SIGTERM\"))'''\n"
        "exec(code, {'__name__': 'bitmosaic.x'})\nexec(code, {'__name__': 'other'})\n"
    ))  # fmt: skip
    assert done.stdout.split("\n")[:4] == ["2", "False True False True", "1", "True True True True"], done.stderr


def test_every_dependency_has_a_lower_bound_that_is_pinned_above_it():
    """And constraints.txt, with which all is tested, admits it."""
    tested = dict(re.findall(r"^([\w-]+)==([\d.]+)", (PROJECT.parent / "constraints.txt").read_text(), re.M))
    tested = {name.lower().replace("_", "-"): version for name, version in tested.items()}
    for pin in pins():
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?==([\d.]+)", pin).groups()
        low, high = (tuple(map(int, version.split("."))) for version in (bound, tested[name.lower()]))
        assert low <= high, pin
    assert "tyro==1.0" in pins(), "0.9.13 lacks FlagCreatePairsOff, so that no command starts; 0.9.35 loses the 2 of --prior.depth=2"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no resource")
def test_memory_is_counted_in_the_systems_unit(monkeypatch):
    import resource

    class Usage:
        ru_maxrss = 3 * 2**20

    monkeypatch.setattr(resource, "getrusage", lambda who: Usage)
    for platform, wanted in (("linux", 3 * 2**30), ("freebsd14", 3 * 2**30), ("darwin", 3 * 2**20)):
        monkeypatch.setattr(sys, "platform", platform)
        assert memory.most_resident() == wanted
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(memory.most_resident())


@pytest.mark.skipif(sys.platform == "win32", reason="it is not told")
def test_memory_that_was_held_is_counted():
    """The real thing; a child's figure is at least what its parent held when it was started."""
    code = "from bitmosaic.memory import most_resident; held = bytearray(b'x') * 1_500_000_000; print(most_resident())"
    found = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 1.5e9 < found < max(3e9, 1.1 * memory.most_resident())
