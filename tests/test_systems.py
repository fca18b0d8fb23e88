"""Published systems: each folder says what it is, its claim is repeated, goes on where it was, and its page is what was measured."""

import json
import operator
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bitmosaic import systems
from bitmosaic.cli import main
from bitmosaic.folders import write_json
from bitmosaic.images import fashion_mnist, fashion_sample, to_pil
from bitmosaic.pipelines import Pipeline
from bitmosaic.systems.base import Claim, Task, Verdict
from bitmosaic.systems.experiment import each, one, result_path
from bitmosaic.systems.page import write_page

DOCS = Path(__file__).parents[1] / "docs"
every = pytest.mark.parametrize("name", systems.names())
claimed = [name for name in systems.names() if (systems.system(name).folder / "claim.py").exists()]
measured = [name for name in systems.names() if (systems.system(name).folder / "measured.json").exists()]


def needs_fashion():
    try:
        fashion_mnist()
    except ValueError as error:
        pytest.skip(str(error))


@every
def test_a_system_says_what_it_is(name):
    system = systems.system(name)
    said = sys.modules[f"bitmosaic.systems.{name}"].__doc__
    assert system.name == name and re.search(r"arXiv \d{4}\.\d{4,5}", system.paper) and "We differ" in said
    assert re.search(r"arXiv \d{4}\.\d{4,5}", system.paper).group() in said
    assert len(system.card) > 100 and not system.card.startswith("#")


def test_recipes_are_found_and_have_one_name_each():
    names = [recipe for name in systems.names() for recipe in systems.system(name).recipes]
    assert len(names) == len(set(names)) == len(systems.recipes()) and {"fashion", "folder", "maskgit"} <= set(names)


@pytest.mark.parametrize("name", claimed)
def test_a_claim_is_whole(name):
    claim = systems.system(name).claim
    assert isinstance(claim, Claim) and claim.said and claim.tested and len(set(claim.trials)) == len(claim.trials) > 1
    assert claim.decide({trial: [] for trial in claim.trials}).holds is None  # nothing is decided by nothing


@pytest.mark.parametrize("name", measured)
def test_the_page_is_what_was_measured(name, tmp_path):
    """Written again from the figures that stand beside the code, it is the page in docs, picture for picture."""
    system = systems.system(name)
    figures = json.loads((system.folder / "measured.json").read_text())
    write_json(tmp_path / "floors.json", figures["floors"])
    (tmp_path / "results").mkdir()
    for trial, own in figures["results"].items():
        for seed, result in enumerate(own):
            write_json(result_path(Task(trial, seed, tmp_path)), result)
    again = write_page(system, Task("", 0, tmp_path, figures["scale"]), figures["seeds"])
    assert json.loads(json.dumps(again)) == figures
    wanted = (DOCS / "systems" / f"{name}.md").read_text()
    found = (tmp_path / f"{name}.md").read_text()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]*)\)", wanted)
    assert all((DOCS / "systems" / picture).exists() for picture in pictures)
    drop = re.compile(r"!\[[^]]*\]\([^)]*\)\n*")  # some are of what training left behind, which is not kept
    assert drop.sub("", found) == drop.sub("", wanted)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Where the first claim about priors leaves the tokenizer that it has trained."""
    return tmp_path_factory.mktemp("tokenizer") / "vqgan"


@pytest.mark.parametrize("name", [name for name in claimed if name not in ("bigr", "tokenizers")])
def test_a_claim_is_tried_once_and_has_its_page(name, tmp_path, tokenizer):
    """At a tiny scale: the first two trials of a claim of few, one of others and of those about priors, which train a tokenizer first; the
    second time nothing is measured again.
    """
    needs_fashion()
    if tokenizer.exists():  # claims about priors begin with the same one
        shutil.copytree(tokenizer, tmp_path / "vqgan")
    system, base = systems.system(name), Task("", 0, tmp_path, 0.002)
    tasks = [replace(base, trial=trial) for trial in system.claim.trials][: 2 if len(system.claim.trials) <= 3 else 1]
    write_json(tmp_path / "floors.json", system.claim.floors(base))
    one(name, tasks[0])
    if (tmp_path / "vqgan").exists():
        tasks = tasks[:1]
    for task in tasks[1:]:
        one(name, task)
    before = [result_path(task).read_text() for task in tasks]
    for text in before:
        found = json.loads(text)
        assert found["whole"] and found["seconds"] > 0 and any(isinstance(value, float) for value in found.values())
    for task in tasks:
        one(name, task)
    assert [result_path(task).read_text() for task in tasks] == before
    measured = write_page(system, base, 1)
    needed = set(system.claim.decisive or system.claim.trials)
    assert (measured["holds"] is None) == (not needed <= {task.trial for task in tasks})
    page = (tmp_path / f"{name}.md").read_text()
    assert all((tmp_path / picture).exists() for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", page))
    if (tmp_path / "vqgan").exists() and not tokenizer.exists():
        shutil.copytree(tmp_path / "vqgan", tokenizer)


class TwoSteps(Claim):
    """Yields a figure, then another; the first is not measured twice."""

    said, tested, trials, seeds = "a paper says so", "it is tried", ("a", "b"), 2
    calls, stop = [], False

    def measure(self, task, known):
        self.calls.append((task.trial, task.seed))
        if "first" not in known:
            yield {"first": float(task.seed)}
        if self.stop:
            raise KeyboardInterrupt
        yield {"second": known["first"] + 1}

    def verdict(self, results):
        return Verdict(all(len(own) == 2 for own in results.values()) or None, "as told")

    def sections(self, results, out):
        return ["a section"]


@pytest.fixture
def two_steps(monkeypatch, tmp_path):
    """A system of two steps, in a folder of one's own."""
    own = tmp_path / "own" / "twosteps"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text(
        '"""Two steps (arXiv 2410.00001).\n\nWe differ in all."""\nfrom bitmosaic.systems.base import System\n'
        'SYSTEM = System("twosteps", "Two Steps (arXiv 2410.00001)", "a thing of two steps")\n'
    )
    (own / "claim.py").write_text('"""Two steps."""\nfrom test_systems import TwoSteps\nCLAIM = TwoSteps()\n')
    (own / "card.md").write_text("What it is.\n\n## More\n\nAfter the claim.\n")
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path / "own")])
    monkeypatch.setattr(TwoSteps, "calls", [])
    yield "twosteps"
    for module in [m for m in sys.modules if m.startswith("bitmosaic.systems.twosteps")]:
        del sys.modules[module]
    if hasattr(systems, "twosteps"):
        del systems.twosteps


def test_what_was_stopped_goes_on_and_the_verdict_is_of_all(two_steps, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    line = ["reproduce", two_steps, "--out", str(out), "--jobs", "1"]
    monkeypatch.setattr(TwoSteps, "stop", True)
    assert main(line) == 130
    assert "the same command again" in capsys.readouterr().err
    monkeypatch.setattr(TwoSteps, "stop", False)
    assert main(line) == 0
    assert TwoSteps.calls == [("a", 0), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]  # all trials once, then again
    page, found = (out / "twosteps.md").read_text(), json.loads((out / "measured.json").read_text())
    assert found["holds"] is True and [r["second"] for r in found["results"]["a"]] == [1.0, 2.0]
    assert page.index("What it is.") < page.index("a paper says so") < page.index("**Claim holds.**") < page.index("## More")
    assert "a section" in page and re.search(r"^\| a \| 0, 1 \| .* \| 1, 2 \|", page, re.M)
    assert main(["list", "systems"]) == 0 and "a thing of two steps; claim not repeated yet" in capsys.readouterr().out
    assert main([*line, "--docs", str(tmp_path / "docs")]) == 0
    assert (tmp_path / "docs" / "twosteps.md").read_text() == page
    assert main(["list", "systems"]) == 0 and "claim holds, 2 seeds" in capsys.readouterr().out


def test_another_scale_is_not_mixed_in(two_steps, tmp_path, capsys):
    line = ["reproduce", two_steps, "--out", str(tmp_path / "out"), "--jobs", "1", "--seeds", "1"]
    assert main([*line, "--scale", "0.5"]) == 0
    assert "0.5 of the full scale" in (tmp_path / "out" / "twosteps.md").read_text()
    assert main(line) == 2 and "was begun with" in capsys.readouterr().err
    for wrong in (["--scale", "0"], ["--seeds", "0"], ["--jobs", "-1"], ["--scale", "1.5"]):
        assert main([*line, *wrong]) == 2 and "seeds, scale, jobs: got" in capsys.readouterr().err
    assert main(["reproduce", "nothing"]) == 2 and "no system 'nothing'; give one of bigr" in capsys.readouterr().err


def test_several_processes_do_what_one_does():
    reciprocal = partial(operator.truediv, 1)
    before = dict(os.environ)
    alone = list(each(reciprocal, list(range(1, 4)), 1))
    assert sorted(each(reciprocal, list(range(1, 4)), 2)) == sorted(alone)
    for jobs in (1, 2):
        with pytest.raises(ZeroDivisionError):
            list(each(reciprocal, [1, 0], jobs))
    assert dict(os.environ) == before  # where bars are silenced for the processes, they are not for good


@pytest.fixture
def rotation(monkeypatch, tmp_path):
    """The example of docs/own.md, as its reader would write it."""
    text = (DOCS / "own.md").read_text()
    folder = tmp_path / "systems" / "rotation"
    folder.mkdir(parents=True)
    blocks = dict(re.findall(r"`rotation/([\w.]+)`[^`]*?\n\n```\w+\n(.*?)```", text, re.S))
    assert set(blocks) == {"quantizer.py", "recipe.py", "__init__.py", "claim.py", "card.md"}
    for name, block in blocks.items():
        (folder / name).write_text(block)
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path / "systems")])
    yield
    for module in [m for m in sys.modules if m.startswith("bitmosaic.systems.rotation")]:
        del sys.modules[module]
    if hasattr(systems, "rotation"):
        del systems.rotation
    from bitmosaic.spec import Spec

    Spec.table.pop("RotationSpec", None)


def test_the_example_of_add_your_own(rotation, tmp_path, capsys):
    needs_fashion()
    import test_quantizers as laws

    out = tmp_path / "out"
    assert main(["list", "systems"]) == 0 and "rotated and scaled" in capsys.readouterr().out
    small = ["--scale", "0.003", "--seeds", "1", "--jobs", "1"]
    assert main(["reproduce", "rotation", *small, "--out", str(out)]) == 0, capsys.readouterr().err
    found = json.loads((out / "measured.json").read_text())
    assert found["holds"] == (found["results"]["rotated"][0]["used"] > found["results"]["copied"][0]["used"])
    own = {**os.environ, "BITMOSAIC_SYSTEMS": str(tmp_path / "systems")}  # as a user names the folder, in a process of its own
    there = [sys.executable, "-c", "from bitmosaic import systems; print(systems.names(), *systems.recipes())"]
    told = subprocess.run(there, env=own, capture_output=True, text=True, timeout=120).stdout
    assert "'rotation'" in told and told.split().count("rotation") == 1
    kind = sys.modules["bitmosaic.systems.rotation.quantizer"].RotationSpec
    laws.test_quantizer_encode_undoes_decode(kind)
    laws.test_quantizer_digits_stay_below_the_radix(kind, 3.0)
    laws.test_quantizer_passes_a_gradient_to_its_input(kind, 0)
    for i in range(3):
        (tmp_path / "photos" / "a").mkdir(parents=True, exist_ok=True)
        to_pil(fashion_sample().image(i).float() / 255).save(tmp_path / "photos" / "a" / f"{i}.png")
    tiny = (
        "--size 32 --tokenizer.width 8 --tokenizer.groups 4 --tokenizer.embedding 8 --tokenizer-training.batch-size 2 "
        "--tokenizer-training.steps 2 --prior.depth 1 --prior.width 32 --prior.heads 2 --prior-training.batch-size 2 "
        "--prior-training.steps 2 --sampler.steps 2"
    )
    line = ["train", "rotation", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run"), *tiny.split()]
    assert main(line) == 0, capsys.readouterr().err
    pipe = Pipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipe.tokenizer.radix == (256,) and pipe(0, [1, 2], output_type="pt").isfinite().all()


def test_a_system_without_a_claim_says_so(capsys):
    without = [name for name in systems.names() if not systems.system(name).claims]
    for name in without:
        assert main(["reproduce", name]) == 2 and f"got '{name}', which has no claim.py" in capsys.readouterr().err
    assert main(["list", "systems"]) == 0 and capsys.readouterr().out.count("no claim yet") == len(without)
