"""The README's commands run as they stand there, on small data; so does its Python."""

import re
import shlex
from pathlib import Path

import pytest

from bitmosaic.cli import main
from bitmosaic.images import fashion_sample, to_pil

README = Path(__file__).resolve().parents[1] / "README.md"
SHORT = [  # what makes a training run short enough for a test
    "--tokenizer-training.steps", "2", "--prior-training.steps", "2", "--tokenizer-training.batch-size", "2", "--sampler.steps", "2",
    "--sampler.evaluations", "2",
]  # fmt: skip

DRAWING = ("sample", "inpaint", "outpaint", "edit", "interpolate", "enrich", "reveal")
QUICK = {name: ["--steps", "3", "--evaluations", "2"] for name in DRAWING}  # likewise
QUICK["bits"] = ["--count", "10"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(".venv/bin/bitmosaic")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    sample = fashion_sample()
    for name, label in (("bag", 8), ("shirt", 6)):
        (tmp_path / "my-images" / name).mkdir(parents=True)
        for i in (sample.labels == label).nonzero().flatten()[:4].tolist():
            to_pil(sample.image(i)).resize((40, 40)).save(tmp_path / "my-images" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_readme(here, capsys):
    assert len(commands()) >= 6
    for words in commands():
        extra = SHORT if words[0] == "train" else QUICK.get(words[0], [])
        assert main([*words, *extra]) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
    for made in ("samples/sheet.png", "runs/mine/pipeline/config.json", "reconstructions"):
        assert (here / made).exists(), made


def test_make_targets_of_the_readme_exist():
    makefile = (README.parent / "Makefile").read_text()
    targets = set(re.findall(r"make (\w+)", README.read_text()))
    assert {"demo", "test", "slow", "lint"} <= targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_python_of_the_readme(here, capsys):
    for block in blocks("python"):
        made = {}
        exec(block.replace("range(16)", "range(2)"), made)
        assert made["codes"].digits.shape == (2, 7, 7, 20) and made["vectors"].shape == (2, 9408) and len(made["again"]) == 2
    assert "49 places known" in capsys.readouterr().out


def test_files_that_the_readme_names_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
